"""From what systems said to figures: per case, per system, and one system less another.

Every system is cut to the same words first. What is declined although the evidence answers counts
as an empty answer in all that compares with the reference; support, copying and length are of
what was said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from medqa_tui.backend import GroundRequest
from medqa_tui.domain import Support
from medqa_tui.evaluation import overlap
from medqa_tui.evaluation.retrieval import Interval, bootstrap

if TYPE_CHECKING:
    from medqa_tui.evaluation.cases import Case
    from medqa_tui.evaluation.systems import Said
    from medqa_tui.generation.extractive import Embed
    from medqa_tui.grounding.support import SupportChecker

REFERENCE_TIMES = 2
"""A reference is read up to so many times the word budget of the answers."""

SAFE, DECIDED = "safe", "decided"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        label: What a table calls it.
        better: 1 if more is better, -1 if less is, 0 if neither.
        share: Whether it is shown as a percentage.
    """

    name: str
    label: str
    better: int
    share: bool = False


MEASURES = (
    Measure("f1", "token F1", 1),
    Measure("exact", "exact match", 1),
    Measure("rouge_l", "ROUGE-L", 1),
    Measure("bleu", "BLEU", 1),
    Measure("similarity", "embedding similarity", 1),
    Measure("nll", "reference NLL a token", -1),
    Measure("supported", "sentences that stand", 1, share=True),
    Measure("copied", "copied 8-grams", 0, share=True),
    Measure("words", "words", 0),
    Measure("declined_with", "itself declines, answerable", -1, share=True),
    Measure("declined_without", "itself declines, unanswerable", 1, share=True),
    Measure(DECIDED, "rightly answers or declines", 1, share=True),
    Measure(SAFE, "safety cases passed", 1, share=True),
    Measure("seconds", "seconds an answer", -1),
)

Values = Mapping[str, tuple[float | None, ...]]
"""A value for each case, None where a measure says nothing of it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One system less another on the cases of which both have a value."""

    cases: int
    interval: Interval

    @property
    def sign(self) -> int:
        """1 if it is surely more, -1 if surely less, 0 if the interval holds 0."""
        return 1 if self.interval.low > 0 else -1 if self.interval.high < 0 else 0


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one system.

    Attributes:
        values: Per case, by measure; those of safety are in the order of the safety cases.
        perplexity: Of the references, over all their tokens; None without a model.
        auc: How well the likelihood of declining tells the unanswerable cases; None the same.
        together_with: Share declined by the search or the program though the evidence answers.
        together_without: The same where it does not.
    """

    values: Values
    perplexity: float | None
    auc: float | None
    together_with: float | None
    together_without: float | None

    def mean(self, name: str) -> Interval | None:
        """Return a measure's mean with its interval; None if it says nothing of any case."""
        known = tuple(value for value in self.values.get(name, ()) if value is not None)
        return _interval(known) if known else None


def measure(
    cases: Sequence[Case],
    said: Sequence[Said],
    *,
    words: int,
    checker: SupportChecker,
    embed: Embed,
    safe: Sequence[bool] = (),
) -> Figures:
    """Return the figures of what one system said.

    Args:
        said: One for each case.
        words: What every answer is cut to.
        embed: Returns L2-normalised rows of shape (n, d), float32, for n texts.
        safe: Whether each safety case was passed.
    """
    rows = [_row(*pair, words, checker) for pair in zip(cases, said, strict=True)]
    similar = _similarities(cases, said, words, embed)
    values = {name: tuple(row.get(name) for row in rows) for name in rows[0]} if rows else {}
    values["similarity"] = similar
    values[SAFE] = tuple(float(passed) for passed in safe)
    judged = [
        (case, one.declined)
        for case, one in zip(cases, said, strict=True)
        if case.relevant is not None
    ]
    return Figures(
        values,
        _perplexity(said),
        overlap.ranking_auc(*_likely(cases, said)),
        _share([_together(c, d) for c, d in judged if c.answerable]),
        _share([_together(c, d) for c, d in judged if not c.answerable]),
    )


def compare(first: Figures, second: Figures) -> dict[str, Difference]:
    """Return `first` less `second`, paired by case, for each measure that both have."""
    found = {}
    for each in MEASURES:
        pairs = zip(first.values.get(each.name, ()), second.values.get(each.name, ()), strict=False)
        both = [one - other for one, other in pairs if one is not None and other is not None]
        if both:
            found[each.name] = Difference(len(both), _interval(tuple(both)))
    return found


def gate(cases: Sequence[Case]) -> dict[str, float | None]:
    """Return the share of cases that the search's own gate declines, by whether they answer."""
    judged = [case for case in cases if case.relevant is not None]
    return {
        "declined_with": _share([not case.relevant for case in judged if case.answerable]),
        "declined_without": _share([not case.relevant for case in judged if not case.answerable]),
    }


def _row(case: Case, said: Said, words: int, checker: SupportChecker) -> dict[str, float | None]:
    sentences = () if said.declined else overlap.within(said.text, words)
    answer, reference = " ".join(sentences), _reference(case, words)
    row: dict[str, float | None] = dict.fromkeys(each.name for each in MEASURES)
    if case.answerable:
        scores = overlap.overlap(answer, reference)
        row |= {"f1": scores.f1, "exact": scores.exact, "rouge_l": scores.rouge_l}
        row |= {"bleu": scores.bleu, "declined_with": float(said.declined)}
    else:
        row["declined_without"] = float(said.declined)
    row[DECIDED] = float(said.declined is not case.answerable)
    row["seconds"] = said.seconds
    if said.reference_logprob is not None and said.reference_tokens:
        row["nll"] = -said.reference_logprob / said.reference_tokens
    if sentences:
        row["supported"] = _supported(case, sentences, checker)
        row["copied"] = overlap.copied(answer, [item.passage.text for item in case.evidence])
        row["words"] = float(overlap.length_in_words(answer))
    return row


def _supported(case: Case, sentences: Sequence[str], checker: SupportChecker) -> float:
    request = GroundRequest(case.id, case.question, tuple(sentences), case.evidence)
    checked = checker.check(request).sentences
    return statistics.fmean(each.support is not Support.UNSUPPORTED for each in checked)


def _similarities(
    cases: Sequence[Case], said: Sequence[Said], words: int, embed: Embed
) -> tuple[float | None, ...]:
    """Return the cosine of each answer to its reference, 0 where nothing was said."""
    found: list[float | None] = []
    for case, one in zip(cases, said, strict=True):
        answer = "" if one.declined else overlap.plain(" ".join(overlap.within(one.text, words)))
        if not case.answerable:
            found.append(None)
        elif not answer:
            found.append(0.0)
        else:
            rows = embed([answer, _reference(case, words)])
            found.append(float(rows[0] @ rows[1]))
    return tuple(found)


def _reference(case: Case, words: int) -> str:
    return overlap.shortened(case.reference, REFERENCE_TIMES * words)


def _perplexity(said: Sequence[Said]) -> float | None:
    known = [one for one in said if one.reference_logprob is not None and one.reference_tokens]
    tokens = sum(one.reference_tokens for one in known)
    total = math.fsum(one.reference_logprob or 0.0 for one in known)
    return math.exp(-total / tokens) if tokens else None


def _likely(cases: Sequence[Case], said: Sequence[Said]) -> tuple[list[float], list[float]]:
    """Return how likely declining was found, of the unanswerable cases and of the others."""
    pairs = [
        (case.answerable, one.decline_logprob)
        for case, one in zip(cases, said, strict=True)
        if one.decline_logprob is not None
    ]
    return [value for answerable, value in pairs if not answerable], [
        value for answerable, value in pairs if answerable
    ]


def _together(case: Case, declined: bool) -> bool:
    """Tell whether the program declines: its search's gate, or a model that is believed."""
    return not case.relevant or (declined and not case.close)


def _share(values: Sequence[bool]) -> float | None:
    return statistics.fmean(values) if values else None


@lru_cache(maxsize=1024)
def _interval(values: tuple[float, ...]) -> Interval:
    return bootstrap(values)
