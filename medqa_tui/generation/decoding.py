"""How an answer is decoded: what the settings say, and where they are silent, the profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.errors import UsageError
from medqa_tui.models.catalog import get_profile

if TYPE_CHECKING:
    from medqa_tui.config import Settings

# What a closed-book profile, an encoder-decoder model, is used with.
_CLOSED_BOOK_BEAMS = 4
_CLOSED_BOOK_NGRAM = 3


@dataclass(frozen=True, slots=True)
class Decoding:
    """What the settings and the profile come to.

    Attributes:
        closed_book: Answer from the model's memory, without evidence.
        beams: Drafts that are compared.
        no_repeat_ngram: No run of so many tokens is written twice; 0 allows it.
    """

    closed_book: bool = False
    beams: int = 1
    no_repeat_ngram: int = 0


def decoding_of(settings: Settings) -> Decoding:
    """Return how answers are decoded under `settings`.

    Raises:
        UsageError: The settings contradict each other: a temperature where nothing is sampled,
            sampling at temperature 0, or an answer that can neither quote nor remember.
    """
    options = settings.answer
    made_for_it = _is_closed_book(settings.profile)
    beams = options.beams or (_CLOSED_BOOK_BEAMS if made_for_it else 1)
    ngram = options.no_repeat_ngram
    if ngram < 0:
        ngram = _CLOSED_BOOK_NGRAM if made_for_it else 0
    _check_sampling(settings, beams)
    closed_book = options.evidence == "false" or (options.evidence == "auto" and made_for_it)
    if options.generator == "extractive":
        if options.evidence == "false":
            raise UsageError(
                "Without evidence there is nothing to quote.",
                "answer.evidence is false and answer.generator is extractive.",
                "medqa-tui config set answer.generator auto",
            )
        closed_book = False
    return Decoding(closed_book, beams, ngram)


def _check_sampling(settings: Settings, beams: int) -> None:
    temperature, sample = settings.answer.temperature, settings.answer.sample
    if sample == "true" and temperature == 0:
        raise UsageError(
            "Sampling needs a temperature above 0.",
            "answer.sample is true and answer.temperature is 0.",
            "medqa-tui config set answer.temperature 0.7",
        )
    if temperature > 0 and (sample == "false" or (sample == "auto" and beams > 1)):
        why = "answer.sample is false" if sample == "false" else f"{beams} beams do not sample"
        raise UsageError(
            "A temperature means nothing without sampling.",
            f"answer.temperature is {temperature:g}, and {why}.",
            "medqa-tui config set answer.sample true, or: "
            "medqa-tui config set answer.temperature 0",
        )


def _is_closed_book(profile: str) -> bool:
    try:
        return get_profile(profile).closed_book
    except UsageError:
        # What is installed under that name is said elsewhere.
        return False
