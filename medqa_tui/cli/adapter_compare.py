"""`medqa-tui adapter compare`: which of two adapters, or of other systems, answers better."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import adapter_figures, completing, diagnostics, interrupt, options, output
from medqa_tui.errors import ExitCode, NotSetUpError, UsageError

if TYPE_CHECKING:
    from medqa_tui.evaluation.bench import Room, Wanted
    from medqa_tui.evaluation.cases import Case
    from medqa_tui.evaluation.comparing import Step
    from medqa_tui.evaluation.report import Report
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


def command(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Adapters by name, or base (no adapter), base-long (the same, made to fill the "
            "words), extractive (quoting), lead (of the top passage). Each is compared with the "
            "first.",
            autocompletion=completing.adapters,
        ),
    ],
    *,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="starter: the held-out starter cards; or JSONL with question, reference, evidence "
            "and answerable.",
        ),
    ] = "starter",
    count: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Questions whose evidence answers, and as many whose does not."
        ),
    ] = 50,
    words: Annotated[
        int, typer.Option(metavar="N", min=5, max=400, help="Words that every answer is cut to.")
    ] = 60,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which questions are drawn.")] = 0,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write figures and answers as JSON."),
    ] = None,
) -> int:
    """Compare adapters on held-out questions, every system at the same number of words.

    Likeness to a reference, support by the evidence, copying, declining where the evidence does
    not answer, and cases on which a wrong answer may hurt, with 95% intervals of each difference
    by a paired bootstrap. The result is kept beside the adapter: one that turned out worse in
    safety or in declining is not put in use without --force.

    Answers are kept, so that the same command goes on where it was stopped.

    Exit codes: 0 compared, 1 failed, 2 usage, 3 not set up, 130 interrupted.
    """
    from medqa_tui.config import load_settings
    from medqa_tui.evaluation import bench, overlap
    from medqa_tui.paths import get_paths

    paths = get_paths()
    settings = load_settings(options.current(ctx).overrides())
    active = _active(paths, settings.profile)
    bench.require_comparable(active, settings)
    named = bench.named(paths, active, names)
    wanted = bench.Wanted(named, data, count, seed, words, given=_given(data))
    _require_folder(output_file)
    overlap.require_libraries()
    from medqa_tui.offline import go_offline

    go_offline()
    cancel = threading.Event()
    with interrupt.first_calls(cancel.set):
        report = _compare(bench.Room(paths, settings, active), wanted, cancel)
    if output_file is not None:
        report.write(output_file)
    if options.current(ctx).json:
        output.emit_record(report.record())
    else:
        adapter_figures.show(report)
        if output_file is not None:
            diagnostics.note(f"Figures and answers are in {output_file}.")
    # Last, so that a disk that refuses costs no figures.
    report.keep(paths, wanted)
    return ExitCode.OK


def _compare(room: Room, wanted: Wanted, cancel: threading.Event) -> Report:
    from medqa_tui.evaluation import comparing
    from medqa_tui.evaluation.report import Report

    with diagnostics.StatusLine("Loading the models") as line:
        tools = room.bench(wanted.words)
        cases = room.cases(
            wanted,
            lambda done, total: line.show("Searching for evidence", done / total),
            cancel,
        )
        if cancel.is_set():
            raise comparing.Stopped(0)
        _say_short(cases, wanted.count)
        line.show("Loading the language model")
        compared = room.systems(wanted)
        answered = comparing.run(compared, cases, tools, lambda step: _show(line, step), cancel)
        line.show("Measuring")
        figures = comparing.measured(answered, cases, tools)
    return Report(wanted.data, cases, wanted.words, answered, figures)


def _show(line: diagnostics.StatusLine, step: Step) -> None:
    from medqa_tui.training.progress import duration

    left = "" if step.left is None else f", {duration(step.left)} to go"
    line.show(
        f"{step.system} answers",
        step.done / step.total,
        f"({step.done} of {step.total} answers{left})",
    )


def _say_short(cases: tuple[Case, ...], count: int) -> None:
    answerable = sum(case.answerable for case in cases)
    for found, what in ((answerable, "answers"), (len(cases) - answerable, "does not answer")):
        if found < count:
            diagnostics.note(f"There are only {found} questions whose evidence {what}.")


def _active(paths: Paths, profile: str) -> Active:
    from medqa_tui.models.active import load_active

    active = load_active(paths, profile)
    if active is None:
        raise NotSetUpError(
            "This profile is not set up yet.",
            f"{profile}.",
            f"medqa-tui setup --profile {profile}",
        )
    return active


def _given(data: str) -> tuple[Case, ...]:
    """Return the cases of a file, before anything is loaded; none for the starter cards."""
    from medqa_tui.evaluation.cases import read_cases

    if data == "starter":
        return ()
    if not Path(data).is_file():
        raise UsageError(
            "There are no such held-out questions.",
            f"{data} is neither starter nor a file.",
            "medqa-tui adapter compare A B --data starter",
        )
    return read_cases(Path(data))


def _require_folder(file: Path | None) -> None:
    if file is not None and not file.resolve().parent.is_dir():
        raise UsageError(
            "The folder of the output does not exist.", f"{file.parent}.", "Make it first."
        )
