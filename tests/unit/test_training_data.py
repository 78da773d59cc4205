"""What a training may learn from, how it is asked, and what counts as wrong beside it."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest

from medqa_tui.errors import UsageError
from medqa_tui.retrieval.embedder import EmbedderIdentity
from medqa_tui.training.groups import Searched, build_groups, split_validation, validation_group
from medqa_tui.training.mining import Mined, hybrid, mine, sampled
from medqa_tui.training.paraphrase import Asked, misspelt, rephrased
from medqa_tui.training.presets import RerankPreset, preset_names, read_preset
from medqa_tui.training.sources import Example, Style, folded, read_source
from medqa_tui.training.vectors import VectorCache


@pytest.fixture
def data(tmp_path):
    """A MedQuAD of six rows: three to train on, one held out, one of dev, one of test."""
    rows = [
        ("a", "What is (are) Asthma?", "Asthma", "information", "Asthma narrows the airways."),
        ("b", "What are the symptoms of Asthma?", "Asthma", "symptoms", "Wheezing and a cough."),
        ("c", "What is (are) Anemia?", "Anemia", "information", "Too few red blood cells."),
        ("d", "What is (are) Joint pain?", "Joint pain", "information", "Often it is gout."),
        ("e", "What is (are) Fever?", "Fever", "information", "A high temperature."),
        ("f", "What is (are) Cough?", "Cough", "information", "Air leaves the lungs."),
    ]
    with gzip.open(tmp_path / "medquad.jsonl.gz", "wt", encoding="utf-8") as file:
        for name, question, focus, aspect, answer in rows:
            row = {"id": name, "question": question, "focus": focus, "qtype": aspect}
            file.write(json.dumps({**row, "answer": answer, "synonyms": []}) + "\n")
    splits = dict(zip("abcdef", ["train"] * 4 + ["dev", "test"], strict=True))
    lines = ["id\tsplit", *(f"{name}\t{split}" for name, split in splits.items())]
    (tmp_path / "medquad_split.tsv").write_text("\n".join(lines))
    (tmp_path / "heldout_topics.txt").write_text("# topics\ngout\nshingles|zoster\n")
    return tmp_path


def test_only_the_train_split_is_learnt_and_no_heldout_topic(data):
    source = read_source("medquad", data)
    assert [example.id for example in source.examples] == ["a", "b", "c"]
    assert source.heldout == {"gout": 1}
    assert source.skipped == {"not in the train split": 2}
    assert set(source.hashes) == {"medquad.jsonl.gz", "medquad_split.tsv", "heldout_topics.txt"}
    first = source.examples[0]
    assert first.shown(Style.BARE) == "Asthma narrows the airways."
    assert first.shown(Style.HEADED).startswith("What is (are) Asthma?\n")


def test_of_the_starter_cards_only_those_of_the_train_split():
    from medqa_tui.corpus.cards import Split, load_cards

    cards = {card.id: card for card in load_cards()}
    source = read_source("starter", None)
    assert source.examples
    assert all(cards[example.id].split is Split.TRAIN for example in source.examples)
    assert source.licence == "CC BY 4.0"


def test_a_file_of_pairs(tmp_path, data):
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"query": "what is asthma", "positive": "Airways.", "negatives": ["Bones."]},
        {"query": "zoster", "positive": "A rash."},
        {"query": " ", "positive": "Nothing was asked."},
    ]
    file.write_text("\n\n".join(map(json.dumps, rows)))
    source = read_source(str(file), data)
    assert [example.negatives for example in source.examples] == [("Bones.",)]
    assert source.heldout == {"shingles": 1}
    assert source.skipped == {"an empty query or passage": 1}


def test_an_added_corpus(tmp_path):
    from medqa_tui.corpus.record import CorpusInfo, PassageRecord
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.domain import Passage

    def passage(name, question, text, chunk=0):
        return Passage(f"notes:{name}#{chunk}", "notes", name, "Note", text, question)

    rows = [
        PassageRecord(passage("1", "What is anemia?", "Too few red cells."), ("low blood",)),
        PassageRecord(passage("1", "What is anemia?", "More on it.", chunk=1)),
        PassageRecord(passage("2", None, "A note without a question.")),
        PassageRecord(passage("3", "What is gout?", "Sore toes.")),
    ]
    file = tmp_path / "corpora.db"
    with CorpusStore(file) as store:
        store.replace(CorpusInfo("notes", licence="CC0", attribution="Me"), rows)
    source = read_source("notes", None, file)
    assert [example.text for example in source.examples] == ["Too few red cells."]
    assert source.examples[0].phrasings == ("low blood",)
    assert (source.licence, source.attribution) == ("CC0", "Me")
    # The list of held-out topics comes with the program.
    assert source.heldout == {"gout": 1}
    assert source.skipped == {"without a question": 1}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "line 1"),
        ("[1]", "not an object"),
        ('{"query": "a"}', '"positive"'),
        ('{"query": "a", "positive": "b", "negatives": "c"}', "list of texts"),
        ("", "every example was left out"),
    ],
)
def test_a_bad_file_is_said(tmp_path, content, word):
    file = tmp_path / "pairs.jsonl"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_source(str(file), None)
    assert word in caught.value.detail


def test_only_a_newline_ends_a_row(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"query": "what is\u2028asthma", "positive": "Airways\x85 narrow.\u2029Often."}
    text = json.dumps(row, ensure_ascii=False)
    file.write_bytes(f"\ufeff{text}\r\n{text}\n".encode())
    source = read_source(str(file), None)
    assert [example.text for example in source.examples] == [row["positive"]] * 2


def test_an_added_corpus_that_is_called_medquad(tmp_path, data):
    from medqa_tui.corpus.record import CorpusInfo, PassageRecord
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.domain import Passage

    row = Passage("medquad:1#0", "medquad", "1", "Note", "Too few red cells.", "What is anemia?")
    file = tmp_path / "corpora.db"
    with CorpusStore(file) as store:
        store.replace(CorpusInfo("medquad", licence="CC BY 4.0"), [PassageRecord(row)])
    for name, folder in (("medquad", None), ("corpus:medquad", None), ("corpus:medquad", data)):
        source = read_source(name, folder, file)
        assert [example.text for example in source.examples] == ["Too few red cells."]
    assert len(read_source("medquad", data, file).examples) == 3, "the data set itself"
    with pytest.raises(UsageError, match="no such training data"):
        read_source("corpus:absent", data, file)
    with pytest.raises(UsageError, match="MedQuAD is not where"):
        read_source("medquad", None, tmp_path / "none.db")


class Encoder:
    """An embedder of letter counts that tells how many texts it was asked for."""

    identity = EmbedderIdentity("tests/letters", "1", "mean", "", 12, True, ())

    def __init__(self):
        self.asked = 0

    def encode(self, texts):
        self.asked += len(texts)
        return encode(texts)


def test_a_damaged_block_of_vectors_is_embedded_again(tmp_path):
    texts = ["asthma", "fever"]
    (wanted,) = {VectorCache(tmp_path, Encoder()).encode(texts).tobytes()}
    (block,) = tmp_path.rglob("*.npz")
    whole = block.read_bytes()
    other = io.BytesIO()
    np.savez(other, keys=np.array(["a", "b"]), vectors=np.zeros((2, 3), dtype=np.float16))
    half = whole[: len(whole) // 2]
    for damage in (half, b"", b"PK\x03\x04", whole[:-40], b"x" * 90, other.getvalue()):
        block.write_bytes(damage)
        again = Encoder()
        made = VectorCache(tmp_path, again).encode(texts)
        assert np.allclose(made, np.frombuffer(wanted, dtype=np.float32).reshape(2, 12), atol=2e-3)
        assert again.asked == 2
    kept = Encoder()
    VectorCache(tmp_path, kept).encode(texts)
    assert kept.asked == 0


def test_what_another_run_is_writing_stays(tmp_path):
    VectorCache(tmp_path, Encoder()).encode(["asthma"])
    (block,) = tmp_path.rglob("*.npz")
    fresh, old = (block.with_name(f"{name}.part.npz") for name in ("fresh", "old"))
    for file in (fresh, old):
        file.write_bytes(b"PK")
    os.utime(old, (0, 0))
    reader = Encoder()
    VectorCache(tmp_path, reader).encode(["asthma"])
    assert fresh.exists()
    assert not old.exists()
    assert reader.asked == 0


def test_no_data_is_said(tmp_path):
    with pytest.raises(UsageError, match="no such training data"):
        read_source(str(tmp_path / "absent.jsonl"), None)
    with pytest.raises(UsageError) as caught:
        read_source("startr", None)
    assert caught.value.hint == "Did you mean starter?"
    with pytest.raises(UsageError, match="MedQuAD is not where") as caught:
        read_source("medquad", tmp_path)
    assert "medquad_split.tsv" in caught.value.detail
    file = tmp_path / "latin.jsonl"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_source(str(file), None)


def test_questions_are_asked_in_other_words_that_keep_their_subject():
    asked = Asked("What are the symptoms of Type 2 Diabetes?", "Type 2 Diabetes", "symptoms")
    draw = random.Random(1)
    ways = [rephrased(asked, draw) for _ in range(60)]
    assert len(set(ways)) > 15
    assert "signs of type 2 diabetes" in {way.lower() for way in ways}
    assert rephrased(asked, random.Random(1)) == ways[0]
    plain = {rephrased(Asked("What is (are) Asthma?"), draw).lower() for _ in range(20)}
    assert "what is asthma?" in plain


def test_a_misspelling_changes_one_long_word():
    for seed in range(20):
        text = misspelt("what is asthma", random.Random(seed))
        words = text.split()
        assert words[:2] == ["what", "is"]
        assert words[2] != "asthma" or text == "what is asthma"
    assert misspelt("is it", random.Random(0)) == "is it"


def examples(*rows):
    return [
        Example(name, Asked(question), text, heading=question, group=group)
        for name, question, text, group in rows
    ]


ROWS = examples(
    ("1", "what is asthma", "asthma narrows the airways", "asthma|what"),
    ("2", "what is asthma?", "the airways are inflamed", "asthma|other"),
    ("3", "asthma explained", "Asthma narrows the airways.", "asthma|third"),
    ("4", "tell me of asthma", "asthma is a disease of the lungs", "asthma|what"),
    ("5", "asthma treatment", "asthma is treated with inhalers", "asthma|treatment"),
    ("6", "what is anemia", "anemia lacks red cells", "anemia|what"),
)


def encode(texts):
    """Counts of letters: enough of an embedding to order six texts."""
    counts = [[text.lower().count(c) + 0.1 for c in "asthmniredlu"] for text in texts]
    vectors = np.array(counts).reshape(len(texts), -1 if texts else 12)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_what_may_answer_too_is_no_negative(monkeypatch):
    monkeypatch.setattr("medqa_tui.training.mining.SAME_QUESTION", 1.1)
    monkeypatch.setattr("medqa_tui.training.mining.SAME_ANSWER", 1.1)
    found = mine(ROWS, [row.text for row in ROWS], encode)
    assert len(found) == len(ROWS)
    # Not itself, the same question, the same words, or the same group.
    assert {ROWS[n].id for n, _ in found[0].negatives} == {"5", "6"}
    scores = [score for _, score in found[0].negatives]
    assert scores == sorted(scores, reverse=True)
    monkeypatch.setattr("medqa_tui.training.mining.SAME_ANSWER", -1.0)
    assert mine(ROWS, [row.text for row in ROWS], encode)[0].negatives == ()


def test_hybrid_scores_are_cosines_and_a_tenth_of_the_words():
    cosines = np.array([0.5, 0.4], dtype=np.float32)
    words = np.array([1.0, 4.0], dtype=np.float32)
    assert hybrid(cosines, words).tolist() == pytest.approx([0.525, 0.5])
    assert hybrid(cosines, np.zeros(2, dtype=np.float32)).tolist() == cosines.tolist()


def test_most_negatives_are_near():
    found = Mined(0, None, 1.0, tuple((n, 1 - n / 100) for n in range(1, 40)))
    chosen = sampled(found, 4, 5, random.Random(0))
    assert len({n for n, _ in chosen}) == 4
    assert sum(n <= 5 for n, _ in chosen) >= 3
    assert len(sampled(Mined(0, None, 1.0, ((3, 0.5),)), 4, 5, random.Random(0))) == 1


def searched():
    mined = [
        Mined(n, None, 0.9, tuple((m, 0.5) for m in range(len(ROWS)) if m != n))
        for n in range(len(ROWS))
    ]
    return [Searched("medquad", tuple(ROWS), tuple(mined))]


def small(**more) -> RerankPreset:
    values = {"pairs": "60", "groups": "5", "negatives": "2", **more}
    return read_preset("reranker", RerankPreset, "starter-rerank", values)


def test_groups_have_their_own_passage_first_and_one_size():
    found = searched()
    train, held = split_validation(found, 1, 0)
    assert held == []  # six questions can spare none
    groups = build_groups(found, train, small())
    assert len(groups) == small().steps * 5
    assert {len(group.texts) for group in groups} == {3}
    texts = {row.text for row in ROWS} | {f"{row.heading} {row.text}" for row in ROWS}
    assert all(set(group.texts) <= texts for group in groups)
    assert groups == build_groups(found, train, small())
    assert groups != build_groups(found, train, small(seed="1"))


def test_a_sentence_taken_out_is_asked_for():
    text = (
        "Asthma narrows the airways of the lungs. It is common. Inhalers open them again quickly."
    )
    rows = [replace(row, text=text) if row.id == "1" else row for row in ROWS]
    mined = (Mined(0, None, 0.9, tuple((n, 0.5) for n in range(1, 6))),)
    found = [Searched("medquad", tuple(rows), mined)]
    (first, *_) = build_groups(found, [(0, mined[0])], small(cloze="1"))
    assert f"{first.query}." in text
    assert first.query not in first.texts[0]
    assert len(first.texts) == 3
    assert first.scores == (0.0, 0.0, 0.0)


def test_no_group_is_on_both_sides():
    rows = [
        Example(str(n), Asked(f"question {n}"), f"text {n}", group=f"group {n // 2}")
        for n in range(40)
    ]
    mined = tuple(Mined(n, None, 0.9, (((n + 1) % 40, 0.5),)) for n in range(40))
    found = [Searched("medquad", tuple(rows), mined)]
    train, held = split_validation(found, 4, 0)
    assert len(held) == 4
    kept_out = {rows[item.example].group for _, item in held}
    assert not kept_out & {rows[item.example].group for _, item in train}
    group = validation_group(found, held[0], 16)
    assert group.query == rows[held[0][1].example].asked.question
    assert len(group.texts) == 2


def test_nothing_to_tell_apart_is_said():
    lonely = [Searched("medquad", (ROWS[0],), (Mined(0, None, 0.9, ()),))]
    with pytest.raises(UsageError, match="nothing to learn"):
        build_groups(lonely, [(0, lonely[0].mined[0])], small())


def test_presets_are_read_and_overridden():
    assert "starter-rerank" in preset_names("reranker")
    preset = read_preset("reranker", RerankPreset, "starter-rerank", {"rank": "4", "seed": "7"})
    assert (preset.rank, preset.seed) == (4, 7)
    assert preset.steps == preset.pairs // (preset.groups * (preset.negatives + 1))


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("starter-rerang", {}, "starter-rerank"),
        ("starter-rerank", {"rnk": "4"}, "rank"),
        ("starter-rerank", {"rank": "four"}, "whole number"),
        ("starter-rerank", {"rank": "0"}, "at least 1"),
    ],
)
def test_a_wrong_preset_is_said(name, changes, word):
    with pytest.raises(UsageError) as caught:
        read_preset("reranker", RerankPreset, name, changes)
    assert word in str(caught.value)


def test_near_duplicates_fold_to_the_same_words():
    assert folded("What is (are) Asthma?") == folded("what is are asthma")
