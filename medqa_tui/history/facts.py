"""What a document says of an entry beside its words: when, how it ended, how sure, by whom."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from medqa_tui.domain import Answer, Evidence, GeneratorKind, Support
from medqa_tui.grounding.closed_book import SHORT
from medqa_tui.history.entry import Entry

_SUPPORT = {
    Support.SUPPORTED: "supported by the evidence",
    Support.PARTIAL: "partly supported",
    Support.UNSUPPORTED: "not supported",
    Support.NOT_CHECKED: "not checked against evidence",
}


def facts(entry: Entry) -> list[tuple[str, str]]:
    """Return what is known of an entry, as labels and values."""
    found = [("Asked", local_time(entry.asked)), ("Outcome", status_words(entry))]
    answer = entry.answer
    if entry.title:
        found.append(("Question", entry.question))
    if answer is None:
        return found
    if answer.query:
        found.append(("Searched for", answer.query))
    if answer.sentences:
        sure = answer.confidence
        kind = "calibrated" if sure.calibrated else "not calibrated"
        found.append(("Confidence", f"{sure.label.value} ({sure.score:.2f}, {kind})"))
        found.append(("Sentences", _support(answer)))
        found.append(("Answered by", _speaker(answer)))
    return found


def label(answer: Answer | None) -> str:
    """Return what stands below an answer from the model's memory, or nothing."""
    return SHORT if answer is not None and answer.closed_book and answer.sentences else ""


def status_words(entry: Entry) -> str:
    """Return how an entry ended, in words."""
    return entry.status.value.replace("_", " ")


def local_time(asked: str) -> str:
    """Return an ISO time in the user's time zone, to the minute; as it is if it is none."""
    try:
        return datetime.fromisoformat(asked).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return asked


def split_evidence(answer: Answer | None) -> tuple[list[Evidence], list[Evidence]]:
    """Return the evidence that the answer cites, and what else had been found."""
    if answer is None:
        return [], []
    cited = {n for sentence in answer.sentences for n in sentence.citations}
    used = [item for item in answer.evidence if item.n in cited]
    return used, [item for item in answer.evidence if item.n not in cited]


def provenance(evidence: Evidence) -> list[str]:
    """Return where a passage comes from: its source, licence, date and revision."""
    passage = evidence.passage
    licence = f"Licence: {passage.licence}" if passage.licence else ""
    revision = f"Revision: {passage.revision}" if passage.revision else ""
    return [part for part in (passage.source, licence, passage.date, revision) if part]


def web_address(evidence: Evidence) -> str:
    """Return the address of a passage if a browser may be sent there, else nothing."""
    url = (evidence.passage.url or "").strip()
    return url if url.lower().startswith(("https://", "http://")) else ""


def _support(answer: Answer) -> str:
    counted = Counter(sentence.support for sentence in answer.sentences)
    return ", ".join(f"{counted[kind]} {_SUPPORT[kind]}" for kind in Support if counted[kind])


def _speaker(answer: Answer) -> str:
    model = answer.model
    if model.generator is not GeneratorKind.MODEL:
        return f"sentences quoted from the evidence (profile {model.profile})"
    parts = [part for part in (model.base, model.adapter, model.quantization, model.device) if part]
    return f"{', '.join(parts)} (profile {model.profile})"
