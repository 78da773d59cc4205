"""The words and marks of the app: pure functions from domain values to text, nothing drawn."""

from __future__ import annotations

import re
from collections import Counter

from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Confidence,
    ConfidenceLabel,
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Passage,
    Scores,
    Sentence,
    Support,
    TriageLevel,
)
from medqa_tui.errors import MedQAError
from medqa_tui.grounding.closed_book import SHORT
from medqa_tui.safety.sanitize import clean

SUPPORT_MARKS = {
    Support.SUPPORTED: "✓",
    Support.PARTIAL: "≈",
    Support.UNSUPPORTED: "✗",
    Support.NOT_CHECKED: "○",
}
SUPPORT_WORDS = {
    Support.SUPPORTED: "supported",
    Support.PARTIAL: "partly supported",
    Support.UNSUPPORTED: "left out",
    Support.NOT_CHECKED: "not checked",
}
_IN_TEXT = {
    Support.PARTIAL: "≈ (partly supported)",
    Support.SUPPORTED: "✓",
    Support.NOT_CHECKED: "○",
}
_DOTS = {ConfidenceLabel.HIGH: "●●●", ConfidenceLabel.MEDIUM: "●●○", ConfidenceLabel.LOW: "●○○"}
_ALERTS = {
    TriageLevel.EMERGENCY: "EMERGENCY: GET HELP NOW",
    TriageLevel.CRISIS: "YOU ARE NOT ALONE: GET HELP NOW",
    TriageLevel.URGENT: "URGENT: READ THIS FIRST",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#+\-.!|~&()=])")
_SNIPPET = 125


def plain(text: str | None) -> str:
    """Return foreign text without control, escape and bidirectional characters."""
    return clean(text).strip() if text else ""


def one_line(text: str | None) -> str:
    """Return foreign text cleaned and on one line."""
    return " ".join(plain(text).split())


def snippet(text: str, limit: int = _SNIPPET) -> str:
    """Return the beginning of a passage, cut at a word, in at most about `limit` characters."""
    line = one_line(text)
    if len(line) <= limit:
        return line
    return line[:limit].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"


def alert_title(level: TriageLevel) -> str:
    """Return the words above red-flag advice."""
    return f"! {_ALERTS.get(level, 'READ THIS FIRST')} !"


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows exactly as it is."""
    return _MARKDOWN.sub(r"\\\1", text)


def answer_markdown(answer: Answer) -> str:
    """Return the checked answer as Markdown: its sentences, citations and support marks."""
    if not answer.sentences:
        return escape_markdown(plain(answer.text))
    quoted = answer.model.generator is GeneratorKind.EXTRACTIVE
    return " ".join(_sentence_markdown(sentence, quoted) for sentence in answer.sentences)


def _sentence_markdown(sentence: Sentence, quoted: bool) -> str:
    text = plain(sentence.text)
    parts = [escape_markdown(text) if quoted else text]
    parts += ["".join(f"[{n}]" for n in sentence.citations)] if sentence.citations else []
    parts += [_IN_TEXT[sentence.support]] if sentence.support in _IN_TEXT else []
    return " ".join(parts)


def support_summary(sentences: tuple[Sentence, ...]) -> str:
    """Return how many sentences stand in their evidence, by mark and word."""
    counts = Counter(sentence.support for sentence in sentences)
    return " · ".join(
        f"{SUPPORT_MARKS[support]} {counts[support]} {SUPPORT_WORDS[support]}"
        for support in Support
        if counts[support]
    )


def closed_book_line(answer: Answer) -> str:
    """Return what is said of an answer from the model's memory; nothing of any other."""
    return f"○ {SHORT}" if answer.closed_book and answer.sentences else ""


def confidence_line(confidence: Confidence) -> str:
    """Return the confidence in dots, a word and a number."""
    kind = "" if confidence.calibrated else ", estimated"
    label = confidence.label
    return f"{_DOTS[label]} Confidence: {label.value} ({confidence.score:.2f}{kind})"


def speaker(model: ModelInfo) -> str:
    """Return who wrote the answer."""
    match model.generator:
        case GeneratorKind.MODEL:
            parts = [one_line(model.base) or "the model"]
            parts += [f"with {one_line(model.adapter)}"] if model.adapter else []
            inside = ", ".join(one_line(x) for x in (model.quantization, model.device) if x)
            return f"Written by {' '.join(parts)}" + (f" ({inside})" if inside else "")
        case GeneratorKind.EXTRACTIVE:
            return "Quoted from the evidence, without a language model"
        case GeneratorKind.NONE:
            return ""


def outcome(answer: Answer) -> str:
    """Return how the question ended when it did not end in an answer, else an empty string."""
    match answer.status:
        case AnswerStatus.ABSTAINED:
            return "– Not answered: the evidence does not carry an answer."
        case AnswerStatus.OUT_OF_SCOPE:
            return "– Not answered: outside what this program is for."
        case AnswerStatus.CANCELLED:
            kept = " What was written so far is kept." if answer.text else ""
            return f"■ Stopped by you.{kept}"
        case AnswerStatus.FAILED | AnswerStatus.EMERGENCY if answer.failure:
            return failure_text(answer.failure)
        case _:
            return ""


def failure_of(error: MedQAError) -> Failure:
    """Return an error of the core as what a message carries."""
    return Failure(error.title, error.detail, error.hint, error.exit_code)


def failure_text(failure: Failure) -> str:
    """Return an error as lines: what happened, what it concerns, what to do next."""
    lines = [f"✗ {one_line(failure.title)}", one_line(failure.detail)]
    lines += [f"→ {one_line(failure.hint)}"] if failure.hint else []
    return "\n".join(line for line in lines if line)


def cited_numbers(answer: Answer) -> tuple[int, ...]:
    """Return the evidence numbers that the answer cites, in rising order."""
    return tuple(sorted({n for sentence in answer.sentences for n in sentence.citations}))


def source_line(evidence: Evidence) -> str:
    """Return one line of the sources list: number, title, source, url."""
    passage = evidence.passage
    parts = (one_line(passage.title), one_line(passage.source), one_line(passage.url))
    return f"[{evidence.n}] " + " · ".join(dict.fromkeys(part for part in parts if part))


def score_line(scores: Scores) -> str:
    """Return the scores of one passage with the names of the field, and the rank in each arm."""
    parts = [
        _score("BM25", scores.bm25, scores.bm25_rank, ".1f"),
        _score("dense", scores.dense, scores.dense_rank, ".2f"),
        # Where a fused score ordered the list, the ranks alone did not.
        _score("fused", scores.fused, None, ".3f") or _score("RRF", scores.rrf, None, ".3f"),
        _score("rerank", scores.rerank, None, ".1f"),
    ]
    return " · ".join(part for part in parts if part)


def matched_line(query: str, passage: Passage) -> str:
    """Return the words of the query that the passage has, or an empty text."""
    from medqa_tui.retrieval.lexical import matched_terms

    text = "\n".join((passage.title, passage.question or "", passage.text))
    return one_line(", ".join(matched_terms(query, text)))


def _score(name: str, value: float | None, rank: int | None, form: str) -> str:
    if value is None:
        return ""
    return f"{name} {value:{form}}" + (f" #{rank}" if rank is not None else "")


def size(count: int) -> str:
    """Return a number of bytes for people, in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def plain_answer(answer: Answer) -> str:
    """Return an answer as text to paste: the answer, its sources, the disclaimer."""
    lines = [plain(answer.triage.advice)] if answer.triage.advice else []
    lines += [plain(answer.text)] if answer.text else []
    lines += [SHORT] if closed_book_line(answer) else []
    cited = set(cited_numbers(answer))
    sources = [source_line(item) for item in answer.evidence if item.n in cited]
    lines += ["Sources:\n" + "\n".join(sources)] if sources else []
    lines += [answer.disclaimer] if answer.disclaimer else []
    return "\n\n".join(lines)
