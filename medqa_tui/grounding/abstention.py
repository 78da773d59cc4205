"""What the program says when it does not know."""

from __future__ import annotations

_LONGEST_QUESTION = 120
_NEXT = (
    "Try other words or a narrower question, or ask a doctor or pharmacist; "
    "if it feels urgent, do not wait for an answer here."
)


def message(question: str, evidence_found: bool, *, closed_book: bool = False) -> str:
    """Return an honest "I don't know": what was searched, and what to do next.

    Args:
        evidence_found: Whether passages about the question were found, that do not answer it.
        closed_book: Nothing was searched: the model was asked for what it remembers.
    """
    asked = _shortened(question)
    if closed_book:
        return (
            f"I don't know. I asked the model for what it remembers of {asked}, without evidence, "
            f"and it gave no answer. {_NEXT}"
        )
    if evidence_found:
        return (
            f"I don't know. I searched the installed medical texts for {asked} and found passages "
            f"about it, shown as evidence, but no answer that I can stand on. {_NEXT}"
        )
    return (
        f"I don't know. I searched the installed medical texts for {asked} and found nothing "
        f"close enough to answer from. I only answer health questions from those texts. {_NEXT}"
    )


def _shortened(question: str) -> str:
    line = " ".join(question.split())
    if not line:
        return "your question"
    if len(line) > _LONGEST_QUESTION:
        line = line[: _LONGEST_QUESTION - 1].rsplit(" ", 1)[0] + "\u2026"
    return f"\u201c{line}\u201d"
