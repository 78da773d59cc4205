import pytest

from medqa_tui.domain import Evidence, Passage, Scores
from medqa_tui.retrieval.relevance import is_relevant, text_coverage

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
