"""The trainings of this data folder: a line for each, and all that is known of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from medqa_tui.training import curve
from medqa_tui.training.progress import duration
from medqa_tui.training.runs import RunReport, RunState
from medqa_tui.tui.wording import one_line

if TYPE_CHECKING:
    from textual.visual import VisualType

_MARKS = {
    RunState.RUNNING: "▶",
    RunState.STOPPING: "◼",
    RunState.ENDED: "✓",
    RunState.STOPPED: "■",
    RunState.FAILED: "✗",
    RunState.KILLED: "✗",
}
_WORDS = {
    RunState.STOPPING: "stopping after this step",
    RunState.ENDED: "ended; its result is saved",
    RunState.STOPPED: "stopped",
    RunState.KILLED: "killed: its process is gone",
}
_NAME = 28
_BAR = 30
_LABEL = 11
# The newest loss and the lowest, on both sides of a curve.
_AROUND = 36


class RunList(OptionList):
    """One line a run; the highlighted one stays so while the numbers change."""

    def __init__(self) -> None:
        super().__init__(id="runs", markup=False, compact=True)
        self._runs: tuple[RunReport, ...] = ()

    @property
    def chosen(self) -> RunReport | None:
        """The highlighted run."""
        at = self.highlighted
        return self._runs[at] if at is not None and at < len(self._runs) else None

    def show(self, runs: tuple[RunReport, ...]) -> None:
        """Draw the runs as they are now."""
        chosen = self.chosen
        same = [run.id for run in runs] == [run.id for run in self._runs]
        self._runs = runs
        width = max((len(_name(run)) for run in runs), default=0)
        lines = [_line(run, width) for run in runs]
        if same:
            for at, line in enumerate(lines):
                self.replace_option_prompt_at_index(at, line)
            return
        self.set_options(Option(line) for line in lines)
        places = [at for at, run in enumerate(runs) if chosen is not None and run.id == chosen.id]
        self.highlighted = (places or [0])[0] if runs else None


class RunDetails(Static):
    """What is known of one run, its curves as wide as there is room."""

    def __init__(self) -> None:
        super().__init__("", markup=False, id="run")
        self._run: RunReport | None = None
        self._now = 0.0

    def show(self, run: RunReport | None, now: float) -> None:
        """Draw the run as it is at `now`, in seconds since the epoch."""
        self._run, self._now = run, now
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        run = self._run
        self.update(_NOTHING if run is None else details(run, self._now, self.size.width))


_NOTHING = (
    "Nothing was trained here yet.\n\n"
    "Training runs in the shell, and is seen here while it runs:\n\n"
    "medqa-tui train generator --data starter --output my-adapter"
)


def details(run: RunReport, now: float, width: int) -> VisualType:
    """Return the lines on one run, the curves as wide as a line of `width` cells lets them be."""
    curves = max(8, min(60, width - _LABEL - _AROUND))
    rows = [
        ("State", f"{_MARKS[run.state]} {_state(run)}"),
        ("Step", _steps(run)),
        ("Loss", _points(run.losses, curves)),
        ("Validation", _points(run.validation, curves)),
        ("Speed", _speed(run, now)),
        ("Began", _when(run, now)),
        ("Result", one_line(run.output)),
    ]
    lines = [
        Content.assemble((f"{label:<{_LABEL}}", "bold"), value) for label, value in rows if value
    ]
    words = one_line(run.words) or _next(run)
    if words:
        lines += [Content(""), Content(words)]
    return Content("\n").join(lines)


def _next(run: RunReport) -> str:
    match run.state, run.kind:
        case RunState.KILLED, _:
            return "Type the same command with --resume to go on from its last checkpoint."
        case RunState.ENDED, "generator":
            return f"To answer with it: medqa-tui adapter use {one_line(run.name)}"
        case _:
            return ""


def _line(run: RunReport, width: int) -> Content:
    parts = [one_line(run.phase) if run.state is RunState.RUNNING else run.state.value]
    if run.total:
        parts.append(f"step {run.step} of {run.total}" if run.losses else _share(run))
    if run.losses:
        parts.append(f"loss {run.losses[-1][1]:.3f}")
    name = (f"{_MARKS[run.state]} {_name(run):<{width}}", "bold")
    return Content.assemble(name, f"  {one_line(run.kind):<9}  {' · '.join(parts)}")


def _name(run: RunReport) -> str:
    name = one_line(run.name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _state(run: RunReport) -> str:
    if run.state is RunState.RUNNING:
        return one_line(run.phase)
    return _WORDS.get(run.state, run.state.value)


def _share(run: RunReport) -> str:
    return f"{run.step} of {run.total}"


def _steps(run: RunReport) -> str:
    if not run.total:
        return ""
    share = min(1.0, run.step / run.total)
    full = round(share * _BAR)
    return f"{_share(run)}  {'━' * full}{'─' * (_BAR - full)}  {share:.0%}"


def _points(points: tuple[tuple[int, float], ...], width: int) -> str:
    if not points:
        return ""
    best = min(points, key=lambda point: point[1])
    newest = f"{points[-1][1]:.3f}"
    return f"{newest}  {curve.line(points, width)}  lowest {best[1]:.3f} at step {best[0]}"


def _speed(run: RunReport, now: float) -> str:
    parts = [] if run.rate is None else [f"{run.rate:.1f} {one_line(run.unit)}/s"]
    left = run.left_now(now)
    parts += [] if left is None else [f"{duration(left)} to go"]
    return " · ".join(parts)


def _when(run: RunReport, now: float) -> str:
    ago = duration(max(0.0, now - run.began))
    heard = max(0.0, now - run.updated)
    silent = f" · last heard of {duration(heard)} ago" if run.state.is_live and heard > 60 else ""
    if not run.state.is_live:
        silent = f" · over after {duration(max(0.0, run.updated - run.began))}"
    return f"{ago} ago, process {run.pid} on {one_line(run.host)}{silent}"
