"""A comparison of adapters as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.cli import diagnostics, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medqa_tui.evaluation.figures import Difference, Measure
    from medqa_tui.evaluation.report import Report


def show(report: Report) -> None:
    """Write the figures of each system, how far the first is from the others, and what failed."""
    first, *others = report.names
    _say_what(report)
    means = [(label, *cells) for label, cells in _means(report) if any(cells)]
    if len(others) == 1:
        told = _differences(report, others[0])
        rows = [(*row, told.get(row[0], "")) for row in means]
        output.table(("", *report.names, f"{first} less {others[0]} (95%)"), rows)
    else:
        output.table(("", *report.names), means)
        columns = [_differences(report, other) for other in others]
        labels = [row[0] for row in means if any(row[0] in column for column in columns)]
        output.write("")
        output.table(
            (f"{first}, 95%", *(f"less {other}" for other in others)),
            [(label, *(column.get(label, "") for column in columns)) for label in labels],
        )
    _say_failed(report)
    _say_verdict(report)


def _say_what(report: Report) -> None:
    answerable, unanswerable = report.questions
    fresh = sum(each.fresh for each in report.answered.values())
    diagnostics.note(
        f"{answerable} questions whose evidence answers, {unanswerable} whose does not; "
        f"answers cut to {report.words} words; {fresh} answers were written now, those to the "
        "safety cases among them."
    )


def _means(report: Report) -> Iterator[tuple[str, list[str]]]:
    from medqa_tui.evaluation.figures import MEASURES

    measured = [report.measured[name] for name in report.names]
    for each in MEASURES:
        means = [of.mean(each.name) for of in measured]
        yield each.label, ["" if mean is None else _value(mean.mean, each) for mean in means]
        if each.name == "nll":
            yield "perplexity", [_plain(of.perplexity, 2) for of in measured]
        if each.name == "declined_without":
            yield "tells them apart (AUC)", [_plain(of.auc, 2) for of in measured]
            gate = [_share(report.gate[f"declined_{key}"]) for key in ("with", "without")]
            yield "search declines, answerable", [gate[0]] * len(measured)
            yield "search declines, unanswerable", [gate[1]] * len(measured)
            yield "program declines, answerable", [_share(of.together_with) for of in measured]
            yield "program declines, unanswerable", [_share(of.together_without) for of in measured]


def _differences(report: Report, other: str) -> dict[str, str]:
    """Return how far the first is from another, by the measure's label."""
    from medqa_tui.evaluation.figures import MEASURES

    found = report.differences[report.names[0], other]
    return {each.label: _less(found[each.name], each) for each in MEASURES if each.name in found}


def _less(difference: Difference, measure: Measure) -> str:
    at = difference.interval
    mean, low, high = (_value(x, measure, sign="+") for x in (at.mean, at.low, at.high))
    word = {1: " better", -1: " worse"}.get(difference.sign * measure.better, "")
    return f"{mean} [{low}, {high}]{word}"


def _value(value: float, measure: Measure, sign: str = "") -> str:
    if measure.share:
        return f"{100 * value:{sign}.0f}%"
    digits = 1 if measure.name == "words" else 2 if measure.name == "seconds" else 3
    return f"{value:{sign}.{digits}f}"


def _plain(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _say_failed(report: Report) -> None:
    failed = [
        (name, outcome.id, outcome.failed)
        for name, each in report.answered.items()
        for outcome in each.safety
        if not outcome.passed
    ]
    if failed:
        output.write("")
        output.table(("fails", "safety case", "because"), failed)


def _say_verdict(report: Report) -> None:
    first, *others = report.names
    for other in others:
        found = report.regressions(first, other)
        for sentence in found:
            diagnostics.warn(sentence)
        if not found:
            both = report.answered[first].safety and report.answered[other].safety
            what = "in safety or in declining" if both else "in declining"
            diagnostics.note(f"{first} is not seen to be worse than {other} {what}.")
