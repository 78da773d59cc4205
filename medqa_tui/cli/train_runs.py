"""`medqa-tui train list`: the trainings that are under way or ended, and how each is told of."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.errors import ExitCode

if TYPE_CHECKING:
    from medqa_tui.training.progress import TrainEvent
    from medqa_tui.training.runs import RunReport

Tell = Callable[["TrainEvent"], None]


@contextmanager
def recorded(
    name: str,
    kind: str,
    to: Path,
    cancel: threading.Event,
    *,
    resume: bool = False,
    dry_run: bool = False,
) -> Iterator[Tell]:
    """Write down how a run is while the block runs; what is yielded takes its events.

    Args:
        kind: "generator" or "reranker".
        to: Where the result goes.
        cancel: Set when somebody asks the run to end.
        dry_run: Nothing is trained, and so nothing is written down.

    Raises:
        UsageError: A training of that name is under way.
    """
    if dry_run:
        yield lambda event: None
        return
    from medqa_tui.paths import get_paths
    from medqa_tui.training.runs import RunRecorder

    folder = get_paths().trainings
    with RunRecorder(folder, name, kind, to, cancel, resume=resume) as recorder:
        yield recorder


def telling(line: diagnostics.StatusLine, record: Tell) -> Tell:
    """Return what shows an event on the status line and writes it down."""
    show = showing(line)

    def tell(event: TrainEvent) -> None:
        show(event)
        record(event)

    return tell


def showing(line: diagnostics.StatusLine, before: str = "") -> Tell:
    """Return what shows an event on the status line, after the words `before`."""

    def show(event: TrainEvent) -> None:
        # What counts its steps needs no percentage too.
        share = event.done / event.total if event.total and not event.counts else None
        line.show(before + event.message, share)

    return show


def command(ctx: typer.Context) -> int:
    """List the trainings that are under way, and then those that ended, newest first."""
    from medqa_tui.paths import get_paths
    from medqa_tui.training.runs import RunState, read_runs

    runs = read_runs(get_paths().trainings)
    if options.current(ctx).json:
        output.emit_record({"runs": [_record(run) for run in runs]})
        return ExitCode.OK
    if not runs:
        diagnostics.note("Nothing was trained here yet. To begin: medqa-tui train generator --help")
        return ExitCode.OK
    headers = ("name", "kind", "state", "step", "loss", "curve", "left")
    output.table(headers, [_row(run) for run in runs])
    for run in runs:
        if run.words:
            diagnostics.note(f"{run.name}: {run.words}")
        elif run.state is RunState.KILLED:
            diagnostics.note(f"{run.name}: to go on with it, the same command with --resume.")
    return ExitCode.OK


def _row(run: RunReport) -> tuple[object, ...]:
    from medqa_tui.training import curve
    from medqa_tui.training.progress import duration

    unicode = terminal.can_show_unicode(sys.stdout)
    left = run.left_now(time.time())
    return (
        run.name,
        run.kind,
        run.state.value if run.losses or not run.state.is_live else run.phase,
        f"{run.step} of {run.total}" if run.total else "",
        f"{run.losses[-1][1]:.3f}" if run.losses else "",
        curve.line(run.losses, 12, unicode=unicode),
        "" if left is None else duration(left),
    )


def _record(run: RunReport) -> dict[str, Any]:
    row = asdict(run)
    for name in ("losses", "validation"):
        # JSON has no word for a loss that is no number.
        row[name] = [(s, loss if math.isfinite(loss) else None) for s, loss in row[name]]
    return row
