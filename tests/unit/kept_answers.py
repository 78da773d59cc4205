"""Answers for the tests of the history, and a way to keep them."""

from __future__ import annotations

from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Confidence,
    ConfidenceLabel,
    Evidence,
    GeneratorKind,
    ModelInfo,
    Passage,
    Question,
    Scores,
    Sentence,
    Support,
    Timings,
    TokenCounts,
    Triage,
    TriageLevel,
)
from medqa_tui.history.entry import Entry
from medqa_tui.history.store import HistoryStore


def whole(question: str = "What is asthma?", text: str = "It is a disease. [1] [7]") -> Answer:
    """Return an answer in which nearly everything has a value; the second passage is bare."""
    passages = (
        Passage(
            "starter:asthma#0",
            "starter",
            "asthma",
            "Asthma <i>overview</i>",
            "Asthma is a disease & more.",
            source="NHLBI",
            url="https://e.org/a?b=1&c=2",
            licence="CC-BY-4.0",
            date="2024-05-01",
            revision="577bd37b96c0",
        ),
        Passage("starter:x#0", "starter", "x", "Cough", "Uncited.", url="javascript:alert(1)"),
    )
    return Answer(
        question=question,
        status=AnswerStatus.ANSWERED,
        text=text,
        sentences=(
            Sentence("It is a disease.", (1,), Support.SUPPORTED, 0.9),
            Sentence("And more.", (1,), Support.PARTIAL, 0.4),
        ),
        evidence=tuple(
            Evidence(n, p, Scores(dense=0.5, bm25_rank=n)) for n, p in enumerate(passages, 1)
        ),
        confidence=Confidence(0.815, ConfidenceLabel.HIGH, calibrated=True),
        triage=Triage(TriageLevel.URGENT, ("chest-pain",), "See a doctor <today>."),
        model=ModelInfo("starter", "org/base", "our-adapter", "nf4", "cpu", GeneratorKind.MODEL),
        timings=Timings(total=12.5),
        tokens=TokenCounts(10, 20),
        disclaimer="For education only.",
        notices=("One sentence was <left> out.",),
        query="asthma disease",
    )


def ask(
    store: HistoryStore, question: str, answer: Answer | str | None = "An answer.", turn: str = ""
) -> Entry:
    """Keep a question of the latest conversation, and its answer unless that is None."""
    session = store.latest_session() or store.new_session()
    turn = turn or f"t{store.count()} {question}"
    recorder = store.recorder(session)
    if isinstance(answer, str):
        answer = Answer(question, AnswerStatus.ANSWERED, answer)
    recorder.begin(Question(question, turn), answer.triage if answer else Triage())
    if answer is not None:
        recorder.finish(turn, answer)
    latest = store.latest()
    assert latest is not None
    return latest
