"""Answers from a model's memory: nothing to check them against, and what is said of them."""

from __future__ import annotations

from medqa_tui.domain import Failure, Sentence, Support
from medqa_tui.grounding.citations import parse

CODE = "closed_book"
"""Code of the notice that comes before a closed-book draft."""

LABEL = (
    "Closed-book answer: written from the model's memory. No evidence was searched, and nothing in "
    "it was checked."
)
SHORT = "Closed-book answer: no evidence supports it."
_HEAD = f"{SHORT}\n\n"

ALARMED = (
    "The question names warning signs, so evidence was searched: beside the advice stand only its "
    "own words."
)


def unchecked(text: str) -> tuple[Sentence, ...]:
    """Return a sentence of a closed-book draft as it may be shown, or nothing.

    Citation marks that the model learnt to write are taken out: they point at nothing.
    """
    said, _ = parse(text)
    return (Sentence(said, support=Support.NOT_CHECKED),) if said else ()


def labelled(text: str) -> str:
    """Return an answer that is not whole yet: should no more of it be kept, it says what it is."""
    return f"{_HEAD}{text}"


def unlabelled(text: str) -> str:
    """Return the words of the answer alone."""
    return text.removeprefix(_HEAD)


def fallen(failure: Failure) -> str:
    """Return why an answer that was asked of a model's memory quotes evidence instead."""
    why = " ".join(part for part in (failure.title, failure.detail) if part)
    return (
        "The answer quotes evidence, since the language model that should answer from memory "
        f"cannot be used: {why}"
    )
