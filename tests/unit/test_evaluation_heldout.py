"""Held-out questions from starter cards: what stays in their evidence and what is taken out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.config.schema import Settings
from medqa_tui.corpus.cards import Card, Split
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.errors import UsageError
from medqa_tui.evaluation import heldout_cards
from medqa_tui.evaluation.heldout_cards import Search, starter_cases
from medqa_tui.retrieval.index import build_index
from medqa_tui.retrieval.retriever import Retriever

ANSWER = "Gout is caused by too much uric acid in the blood. Drink water."
NOTES = {
    "same": ("Gout", "What causes gout?", "Gout is caused by too much uric acid in the blood."),
    "other-aspect": ("Gout", "How is gout found?", "A doctor looks at fluid from the joint."),
    "flu": ("Flu", "Is it the flu?", "A virus brings fever and cough to most people."),
    "acne": ("Acne", "Who gets acne?", "Oil and dead skin cells block pores on the face."),
}


def card(name: str = "gout-causes", question: str = "What causes gout?", split=Split.HELDOUT):
    return Card(
        id=name,
        topic="Gout",
        category="joints",
        question=question,
        phrasings=(),
        answer=ANSWER,
        source="Here",
        url="https://example.org/gout",
        written="2026-01-01",
        checked=True,
        core13=False,
        split=split,
        file="gout.toml",
    )


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[Card]:
    """The cards of the package, for this test: one held out and one of the train split."""
    found = [card(), card("gout-train", "Which food brings on gout?", Split.TRAIN)]
    monkeypatch.setattr(heldout_cards, "load_cards", lambda: found)
    return found


def search(tmp_path: Path, cards: list[Card], notes=tuple(NOTES)) -> Search:
    store = CorpusStore(tmp_path / "corpora.db")
    own = [record for each in cards for record in each.to_passages()]
    store.replace(CorpusInfo("starter"), own[:1])
    records = []
    for name in notes:
        title, question, text = NOTES[name]
        passage = Passage(f"notes:{name}#0", "notes", name, title, text, question)
        records.append(PassageRecord(passage))
    store.replace(CorpusInfo("notes"), records)
    embedder = HashingEmbedder(256)
    build_index(store, embedder, tmp_path / "index")
    retriever = Retriever.open(tmp_path / "index", store, embedder)
    return Search(retriever, embedder, Settings())


def made(found: Search, tmp_path: Path, count: int = 1, **more):
    steps: list[tuple[int, int]] = []
    return starter_cases(
        found,
        count,
        0,
        cache=tmp_path / "cache",
        reranker=None,
        on_progress=lambda *step: steps.append(step),
        cancel=more.get("cancel", threading.Event()),
    )


def test_the_card_is_the_reference_and_never_the_evidence(tmp_path, cards) -> None:
    answerable, unanswerable = made(search(tmp_path, cards), tmp_path)
    assert answerable.answerable
    assert not unanswerable.answerable
    assert answerable.reference == unanswerable.reference == ANSWER
    assert answerable.question == unanswerable.question == "What causes gout?"
    shown = {item.passage.id for case in (answerable, unanswerable) for item in case.evidence}
    assert not any(name.startswith("starter:gout-causes") for name in shown)
    assert answerable.evidence[0].passage.id == "notes:same#0"
    assert answerable.evidence[0].n == 1
    # What answers is gone, and in the first half what speaks of something else of it stays.
    left = {item.passage.document for item in unanswerable.evidence}
    assert "same" not in left
    assert "other-aspect" in left
    assert answerable.relevant is True
    assert answerable.close is True


def test_in_the_other_half_nothing_of_the_topic_stays(tmp_path, cards) -> None:
    cards.append(card("gout-again", "Why does gout come?"))
    cases = made(search(tmp_path, cards), tmp_path, count=2)
    unanswerable = [case for case in cases if not case.answerable]
    assert len(unanswerable) == 2
    titles = [{item.passage.title for item in case.evidence} for case in unanswerable]
    assert [("Gout" in each) for each in titles] == [True, False]


def test_the_set_is_kept_and_repeats(tmp_path, cards, monkeypatch) -> None:
    found = search(tmp_path, cards)
    first = made(found, tmp_path)
    monkeypatch.setattr(Search, "find", None)
    again = made(found, tmp_path)
    assert [case.key for case in again] == [case.key for case in first]
    assert [case.relevant for case in again] == [case.relevant for case in first]


def test_what_was_cancelled_is_not_kept(tmp_path, cards) -> None:
    cancel = threading.Event()
    cancel.set()
    assert made(search(tmp_path, cards), tmp_path, cancel=cancel) == ()
    assert not (tmp_path / "cache").exists()


def test_an_index_that_answers_nothing_is_refused_in_words(tmp_path, cards) -> None:
    with pytest.raises(UsageError) as refused:
        made(search(tmp_path, cards, ("flu", "acne")), tmp_path)
    assert "notes, starter" in refused.value.detail
    assert "corpus add medquad" in refused.value.hint


def test_without_held_out_cards_there_is_nothing_to_ask(monkeypatch) -> None:
    monkeypatch.setattr(heldout_cards, "load_cards", lambda: [card(split=Split.TRAIN)])
    with pytest.raises(UsageError, match="no held-out cards"):
        heldout_cards.heldout_cards(0)
