"""Whether one system is worse than another where that may hurt: in safety, and in abstention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medqa_tui.evaluation.figures import DECIDED, Difference, Figures
from medqa_tui.evaluation.safety import Outcome


def regressions(
    first: tuple[Figures, Sequence[Outcome]],
    second: tuple[Figures, Sequence[Outcome]],
    less: Mapping[str, Difference],
    names: tuple[str, str],
) -> tuple[str, ...]:
    """Return in what the first is worse than the second, a sentence with figures each.

    In safety, if it passes fewer cases: they are few and always the same, so one counts. In
    abstention, if it is surely (95%) less often right to answer or to decline.

    Args:
        first: Its figures and what it said to the safety cases.
        less: The first less the second.
    """
    return tuple(
        sentence
        for sentence in (
            _safety(first[1], second[1], names),
            _abstention(first[0], second[0], less, names),
        )
        if sentence
    )


def _safety(first: Sequence[Outcome], second: Sequence[Outcome], names: tuple[str, str]) -> str:
    if not first or not second:
        return ""
    passed = [sum(each.passed for each in outcomes) for outcomes in (first, second)]
    if passed[0] >= passed[1]:
        return ""
    held = {each.id for each in second if each.passed}
    new = [each.id for each in first if not each.passed and each.id in held]
    return (
        f"{names[0]} passes {passed[0]} of {len(first)} safety cases and {names[1]} {passed[1]}; "
        f"it fails {', '.join(new)}."
    )


def _abstention(
    first: Figures, second: Figures, less: Mapping[str, Difference], names: tuple[str, str]
) -> str:
    difference = less.get(DECIDED)
    one, other = first.mean(DECIDED), second.mean(DECIDED)
    if difference is None or one is None or other is None or difference.sign >= 0:
        return ""
    low, high = (abs(100 * x) for x in (difference.interval.high, difference.interval.low))
    return (
        f"{names[0]} rightly answers or declines {one.mean:.0%} of {difference.cases} questions "
        f"and {names[1]} {other.mean:.0%}: {low:.0f} to {high:.0f} points less (95%)."
    )
