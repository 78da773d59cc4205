"""What a generator learns from: presets, the data and its split, and lessons with evidence."""

from __future__ import annotations

import json

import pytest

from medqa_tui.errors import UsageError
from medqa_tui.generation import prompt
from medqa_tui.grounding.citations import parse
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.training import curve
from medqa_tui.training.examples import lessons
from medqa_tui.training.generator_presets import read_generator_preset
from medqa_tui.training.pairs import part, read_pairs
from medqa_tui.training.paraphrase import Asked
from medqa_tui.training.selecting import select_for
from medqa_tui.training.sources import Example


def example(n: int, group: str, text: str = "") -> Example:
    text = text or " ".join(f"Sentence {group} {n} says word{n}{at} plainly." for at in range(4))
    return Example(f"e{n}", Asked(f"What is thing {n}?", group), text, f"Thing {n}", group=group)


@pytest.mark.parametrize("name", ["starter", "flashcards", "classic"])
def test_every_preset_reads_and_can_be_changed(name):
    changed = read_generator_preset(name, {"epochs": "3", "evidence": "false", "by_length": "no"})
    assert (changed.epochs, changed.evidence, changed.by_length) == (3.0, False, False)
    assert read_generator_preset(name, {}).profile == name


def test_presets_are_those_that_are_named():
    classic, cards = (read_generator_preset(name, {}) for name in ("classic", "flashcards"))
    assert (classic.batch, classic.accumulation, classic.weight_decay) == (4, 2, 0.01)
    assert (classic.epochs, classic.max_tokens, classic.checkpoint_steps) == (10, 128, 0)
    assert (cards.rank, cards.alpha, cards.dropout, cards.warmup) == (16, 32, 0.05, 0.03)
    assert (cards.schedule, cards.epochs, cards.batch, cards.accumulation) == ("cosine", 4, 4, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranc": "3"}, "no such setting"),
        ({"rank": "much"}, "wrong kind"),
        ({"rank": "0"}, "too small"),
        ({"evidence": "perhaps"}, "wrong kind"),
        ({"method": "magic"}, "not known"),
        ({"abstaining": "1.5"}, "out of range"),
        ({"learning_rate": "nan"}, "too small"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        read_generator_preset("starter", changes)


def test_the_core_cards_are_thirteen_of_the_train_split():
    core, starter = read_pairs("core13", None), read_pairs("starter", None)
    assert len(core.examples) == 13
    assert {e.id for e in core.examples} <= {e.id for e in starter.examples}
    assert starter.skipped["cards of the held-out split"] > 100


def test_files_of_questions_and_answers(tmp_path):
    rows = [
        {"question": "What is fever?", "answer": "A high temperature."},
        {"question": "What is gout?", "answer": "A painful joint."},
        {"question": "And this?", "answer": " "},
    ]
    jsonl, table = tmp_path / "pairs.jsonl", tmp_path / "pairs.csv"
    jsonl.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    table.write_text('question,answer\n"What is fever?","A high temperature."\n', "utf-8")
    source = read_pairs(str(jsonl), None)
    assert [e.asked.question for e in source.examples] == ["What is fever?"]
    assert source.heldout == {"gout": 1}, "a held-out topic is refused, and counted"
    assert source.skipped == {"no question or no answer": 1}
    assert read_pairs(str(table), None).examples[0].text == "A high temperature."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"question": "What is fever?"}', "answer missing"),
        ('{"question": "What is fever?", "answer": ""}', "1 no question or no answer"),
        ("[1]", "not an object"),
        ("[" * 100_000, "line 1"),
    ],
)
def test_files_without_answers_are_refused(tmp_path, text, words):
    file = tmp_path / "pairs.jsonl"
    file.write_text(text, "utf-8")
    with pytest.raises(UsageError) as caught:
        read_pairs(str(file), None)
    assert words in caught.value.detail.replace("with ", "")


def test_only_a_newline_ends_a_row_of_json(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"question": "What is\u2028fever?", "answer": "High.\x85 Often.\u2029"}
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    assert len(read_pairs(str(file), None).examples) == 1


def test_a_table_that_is_none_is_refused_in_words(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text(f'question,answer\n"What is fever?","{"x" * 200_000}"\n', "utf-8")
    with pytest.raises(UsageError, match="not as expected") as caught:
        read_pairs(str(file), None)
    assert "after line 1" in caught.value.detail


def test_no_topic_and_no_near_duplicate_crosses_the_split():
    same = "All of this text is repeated word for word, wherever it happens to stand, always."
    examples = [example(n, f"topic{n % 10}") for n in range(40)]
    examples += [example(100 + n, f"twin{n}", f"{same} Really, number {n}.") for n in range(2)]
    for seed in range(30):
        parted = part(examples, 4, seed)
        held = {e.group for e in parted.held}
        assert held
        assert held.isdisjoint(e.group for e in parted.train)
        assert len(parted.train) + len(parted.held) + parted.near == len(examples)
        twins = {"twin0", "twin1"}
        if len(held & twins) == 1:
            assert parted.near == 1
            assert twins.isdisjoint(e.group for e in parted.train)
            return
    pytest.fail("no seed kept a twin out")


def test_lessons_cite_the_passage_that_answers_or_abstain():
    examples = [example(n, f"topic{n // 4}") for n in range(80)]
    preset = read_generator_preset("starter", {"abstaining": "0.3"})
    made = lessons(examples, preset)
    assert made == lessons(examples, preset), "the seed decides"
    silent = [lesson for lesson in made if lesson.abstains]
    assert 10 < len(silent) < 40
    ranks = set()
    for own, lesson in zip(examples, made, strict=True):
        assert lesson.evidence is not None
        assert 1 <= len(lesson.evidence) <= preset.passages
        assert [e.n for e in lesson.evidence] == list(range(1, len(lesson.evidence) + 1))
        there = [e.n for e in lesson.evidence if e.passage.document == own.id]
        assert bool(there) is not lesson.abstains
        if there:
            _, cited = parse(lesson.answer)
            assert set(cited) == set(there)
            assert lesson.answer.count("[") == preset.answer_sentences
            ranks |= set(there)
    assert ranks == {1, 2, 3}
    same = [
        any(e.passage.title == own.group for e in lesson.evidence or ())
        for own, lesson in zip(examples, made, strict=True)
        if lesson.abstains
    ]
    assert {True, False} == set(same), "of the same topic in some, of others in some"
    assert made[0].messages == prompt.build(made[0].question, made[0].evidence or ())


def found(title: str, text: str, n: int) -> dict[str, object]:
    return {"n": n, "title": title, "question": f"What is {title}?", "text": text}


def given(tmp_path, **changes: object):
    row = {
        "question": "How is a cold treated?",
        "title": "Common cold",
        "answer": "Rest and fluids help a cold. Antibiotics do not cure a cold.",
        "evidence": [
            found("Flu", "The flu is caused by a virus. Rest and fluids help many people.", 1),
            found("Colds", "A cold is mild. Antibiotics do not cure a cold. It goes away.", 3),
        ],
    } | changes
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row), "utf-8")
    return read_pairs(str(file), None)


def test_rows_that_bring_their_evidence_are_answered_by_quoting_it(tmp_path):
    preset = read_generator_preset("starter", {})
    lesson = lessons(given(tmp_path).examples, preset)[0]
    assert [e.n for e in lesson.evidence or ()] == [1, 3]
    said = split_sentences(lesson.answer)
    assert "Antibiotics do not cure a cold. [3]" in said
    assert "Rest and fluids help many people. [1]" in said
    shown = {text for e in lesson.evidence or () for text in split_sentences(e.passage.text)}
    assert {parse(each)[0] for each in said} <= shown
    short = read_generator_preset("starter", {"answer_words": "8"})
    assert lessons(given(tmp_path).examples, short)[0].answer.count("[") == 1


def test_an_answer_that_cites_is_learnt_as_it_stands_and_none_where_there_is_none(tmp_path):
    preset = read_generator_preset("starter", {})
    cited = "Antibiotics do not cure a cold. [3]"
    assert lessons(given(tmp_path, answer=cited).examples, preset)[0].answer == cited
    assert lessons(given(tmp_path, answerable=False).examples, preset)[0].abstains


def test_evidence_of_a_heldout_topic_is_refused_and_what_is_none_is_told(tmp_path):
    with pytest.raises(UsageError, match="nothing to train on"):
        given(tmp_path, evidence=[found("Gout", "Gout is a kind of arthritis.", 1)])
    with pytest.raises(UsageError) as caught:
        given(tmp_path, evidence=[{"title": "no text"}])
    assert "row 1" in caught.value.detail


def test_what_a_sentence_is_worth_decides_between_equals(tmp_path):
    shown = given(tmp_path).examples[0].given
    reference, question = "Nothing but a cold.", "Is it a cold?"
    for wanted in ("A cold is mild.", "Antibiotics do not cure a cold."):
        chosen = select_for(
            reference, question, shown, words=9, most=1, worth=lambda text, w=wanted: text == w
        )
        assert chosen.text == f"{wanted} [3]"
        assert 0 < chosen.f1 < 1
    assert select_for("Zebra.", question, shown, words=60, most=4).text == ""


def test_lessons_without_evidence_are_closed_book():
    preset = read_generator_preset("classic", {})
    made = lessons([example(1, "a")], preset)[0]
    assert made.evidence is None
    assert made.messages[-1]["content"] == "Medical question: What is thing 1?"
    assert made.answer == example(1, "a").text


def test_a_curve_is_drawn(tmp_path):
    points = [(step, 10.0 / (1 + step)) for step in range(100)]
    drawn = curve.line(points, 20)
    assert len(drawn) == 20
    assert (drawn[0], drawn[-1]) == ("\u2588", "\u2581")
    assert curve.line(points, 20, unicode=False).isascii()
    assert curve.line([]) == ""
    if curve.write_png(points, points[::10], tmp_path / "loss.png"):
        assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
