import pytest

from medqa_tui.domain import Evidence, Passage, Scores
from medqa_tui.retrieval.relevance import (
    is_close,
    is_relevant,
    text_coverage,
    worth_reading,
)

PASSAGE = Passage(
    "starter:t2d#0",
    "starter",
    "t2d",
    "Type 2 diabetes",
    "People with type 2 diabetes are often thirsty and tired.",
    "What are the symptoms of type 2 diabetes?",
)


def found(dense: float | None, passage: Passage = PASSAGE) -> tuple[Evidence, ...]:
    return (Evidence(1, passage, Scores(dense=dense)),)


@pytest.mark.parametrize(
    ("query", "dense", "expected"),
    [
        ("What are the symptoms of type 2 diabetes?", 1.0, True),
        ("diabetes", 0.45, True),
        ("diabetis sympoms", 0.41, True),
        ("Who won the 1998 World Cup?", 0.16, False),
        # A word in common is no topic in common.
        ("thirsty plants in pots", 0.36, False),
        # The pattern of the question is alike, the disease is another.
        ("What are the symptoms of malaria?", 0.6, False),
        # No word in common, but the meaning is plain.
        ("always drinking and peeing", 0.7, True),
    ],
)
def test_cosine_and_words_decide_together(query, dense, expected):
    assert is_relevant(query, found(dense)) is expected


def test_words_of_phrasings_count_where_they_were_looked_up():
    assert not is_relevant("sugar sickness", found(0.45))
    assert is_relevant("sugar sickness", found(0.45), coverage=1.0)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("symptoms of type 2 diabetes", True),
        ("why am I thirsty", True),
        ("Who won the 1998 World Cup?", False),
        ("thanks", False),
        ("What are the symptoms?", False),
    ],
)
def test_without_an_embedder_words_decide(query, expected):
    assert is_relevant(query, found(None)) is expected


def test_nothing_found_is_not_relevant():
    assert not is_relevant("diabetes", ())


def test_coverage_counts_topic_words_and_forgives_spelling():
    (item,) = found(None)
    assert text_coverage("diabetes tired chess", item) == pytest.approx(2 / 3)
    assert text_coverage("diabetes", item) == 1.0
    assert text_coverage("diabetis", item) == 0.8
    assert text_coverage("chess", item) == 0.0
    assert text_coverage("what is it", item) == 0.0


def ranked(*items: tuple[str, Scores]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(n, Passage(f"c:{n}#0", "c", str(n), title, "Text."), scores)
        for n, (title, scores) in enumerate(items, 1)
    )


def read(*items: tuple[str, Scores]) -> list[int]:
    return [item.n for item in worth_reading(ranked(*items))]


def dense(value: float) -> Scores:
    return Scores(dense=value)


def test_what_is_read_is_about_the_best_passages_topic():
    # The cosines of "What are the symptoms of type 2 diabetes?" and of "What is angina?".
    two, one = "Type 2 diabetes", "Type 1 diabetes"
    assert read((two, dense(0.92)), (two, dense(0.67)), (one, dense(0.74))) == [1]
    assert read(("Heart", dense(0.78)), ("Heart", dense(0.49)), ("Legs", dense(0.33))) == [1]


def test_a_second_passage_that_helps_is_read_too_and_keeps_its_number():
    asthma = "Asthma"
    assert read((asthma, dense(0.78)), ("Cough", dense(0.5)), (asthma, dense(0.64))) == [1, 3]
    # Another title, but as near: a question that names two things.
    assert read(("Blood thinners", dense(0.54)), ("Pain relievers", dense(0.52))) == [1, 2]


def test_the_first_is_read_even_if_another_arm_or_a_reranker_put_it_there():
    assert read(("Cold", dense(0.5)), ("Flu", dense(0.8)), ("Gout", dense(0.6))) == [1, 2]


def test_no_more_than_three_are_read():
    assert read(*[("Stroke", dense(0.7))] * 5) == [1, 2, 3]


def test_without_cosines_rank_title_and_words_decide():
    close, far = Scores(bm25=5.8), Scores(bm25=2.0)
    assert read(("Flu", Scores(bm25=6.0)), ("Cold", close), ("Flu", far), ("Flu", far)) == [1, 2, 3]
    assert read(("Flu", Scores(bm25=6.0)), ("Gout", far)) == [1]
    assert read(("Flu", Scores()), ("Gout", Scores())) == [1]


def test_of_nothing_nothing_is_read():
    assert worth_reading(()) == ()


@pytest.mark.parametrize(
    ("query", "dense", "expected"),
    [
        ("what are the symptoms of type 2 diabetes", 0.5, True),
        ("how do i know that it is sugar sickness", 0.85, True),
        ("Is type 2 diabetes inherited?", 0.7, False),
        ("Is type 2 diabetes inherited?", None, False),
    ],
)
def test_a_passage_is_close_by_its_question_or_by_its_cosine(query, dense, expected):
    assert is_close(query, found(dense)) is expected
