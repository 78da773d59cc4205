"""What is said around a checked draft, and how its sentences are shown."""

from __future__ import annotations

from collections.abc import Iterable

from medqa_tui.domain import Sentence
from medqa_tui.grounding.citations import format_marks

NOT_STANDING = (
    "The model's draft did not hold up against the evidence, so the answer quotes the evidence "
    "itself."
)
DECLINED = (
    "The model saw no answer in passages that are very close to the question, so the answer quotes "
    "them."
)


def cited(sentence: Sentence) -> str:
    """Return the sentence with its citation marks, as every front end shows it."""
    marks = format_marks(sentence.citations)
    return f"{sentence.text} {marks}" if marks else sentence.text


def prose(sentences: Iterable[Sentence]) -> str:
    """Return an answer's sentences as its text."""
    return " ".join(cited(sentence) for sentence in sentences)


def left_out(count: int) -> str:
    """Return the notice of `count` sentences that are not shown."""
    what = "1 sentence was" if count == 1 else f"{count} sentences were"
    return f"{what} left out: not found in the evidence."
