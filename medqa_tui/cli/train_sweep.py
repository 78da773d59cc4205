"""`medqa-tui train sweep`: the settings that train best, and the adapter they made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import (
    diagnostics,
    interrupt,
    options,
    train_generator,
    train_reranker,
    train_runs,
    train_study,
    training,
)
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    import optuna

    from medqa_tui.training.dealing import Pruner, Sampler
    from medqa_tui.training.progress import TrainEvent
    from medqa_tui.training.study import Storage
    from medqa_tui.training.sweep import AnyWanted, Sweep

app = options.new_app("Search the settings that train best, on a study that processes share.")

StudyName = Annotated[
    str, typer.Option("--study", metavar="NAME", help="Name of the study.", show_default=False)
]
Searched = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        metavar="KEY=VALUES",
        help="Search this setting instead of the default ones: rank=4,8,16 or "
        "learning_rate=1e-5:1e-3:log; may be repeated.",
    ),
]
SamplerName = Annotated[
    str,
    typer.Option(
        "--sampler", metavar="NAME", help="grid, random or tpe (Optuna's own, which learns)."
    ),
]
PrunerName = Annotated[
    str,
    typer.Option(
        "--pruner", metavar="NAME", help="What ends bad trials early: median, hyperband or none."
    ),
]
TrialCount = Annotated[
    int | None,
    typer.Option(
        "--trials",
        metavar="N",
        min=1,
        help="Trials of the whole study, over all processes. A grid has as many as cells, else 20.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Decides what is drawn.")]


@app.callback()
def sweep() -> None:
    """Search the settings that train best, on a study that processes share.

    Each trial is a training of its own. The best one's adapter is kept and becomes the result. The
    same command goes on with a study, and may run several times at once.
    """


@app.command()
def generator(
    ctx: typer.Context,
    *,
    study: StudyName,
    output_name: training.OutputName,
    data: training.PairsData = None,
    preset: training.GeneratorPresetName = "starter",
    change: training.Change = None,
    search: Searched = None,
    sampler: SamplerName = "tpe",
    pruner: PrunerName = "median",
    trials: TrialCount = None,
    seed: Seed = 0,
    storage: train_study.StoragePlace = None,
    data_folder: training.DataFolder = None,
    use: Annotated[bool, typer.Option("--use", help="Answer with the best from now on.")] = False,
) -> int:
    """Search the settings that teach a model best how to answer.

    What is compared is the validation loss. Settings given with --set are not searched.

    Exit codes: 0 the best is an adapter, or other processes still run trials, 1 no trial finished,
    2 the data, a setting or the study is wrong, 3 the model is not set up, 130 stopped: the same
    command goes on.
    """
    training.require_training("optuna")
    asked = _asked(
        study=study,
        search=search,
        change=change,
        sampler=sampler,
        pruner=pruner,
        trials=trials,
        seed=seed,
        storage=storage,
    )
    wanted, active = train_generator.wanted_of(
        ctx,
        output_name,
        data or ["starter"],
        preset_name=preset,
        change=change or [],
        data_folder=data_folder,
    )

    def choose(made: AnyWanted) -> None:
        train_generator.finish(made, active, use=use)

    return _sweep(ctx, "generator", wanted, asked, choose)


@app.command()
def reranker(
    ctx: typer.Context,
    *,
    study: StudyName,
    output_name: training.OutputName,
    data: training.RerankData = None,
    preset: training.RerankPresetName = "starter-rerank",
    change: training.Change = None,
    search: Searched = None,
    sampler: SamplerName = "tpe",
    pruner: PrunerName = "median",
    trials: TrialCount = None,
    seed: Seed = 0,
    storage: train_study.StoragePlace = None,
    data_folder: training.DataFolder = None,
    use: Annotated[bool, typer.Option("--use", help="Search with the best from now on.")] = False,
) -> int:
    """Search the settings that teach a re-ranker best which passage answers.

    What is compared is the loss on questions kept out. Settings given with --set are not searched.

    Exit codes: 0 the best is an adapter, or other processes still run trials, 1 no trial finished,
    2 the data, a setting or the study is wrong, 3 the model is not set up, 130 stopped: the same
    command goes on.
    """
    training.require_training("optuna")
    asked = _asked(
        study=study,
        search=search,
        change=change,
        sampler=sampler,
        pruner=pruner,
        trials=trials,
        seed=seed,
        storage=storage,
    )
    wanted = train_reranker.wanted_of(
        ctx,
        output_name,
        data or ["starter"],
        preset_name=preset,
        change=change or [],
        data_folder=data_folder,
    )

    def choose(made: AnyWanted) -> None:
        train_reranker.finish(ctx, made.name, made.output, use=use)

    return _sweep(ctx, "reranker", wanted, asked, choose)


app.command("show")(train_study.show)


# -- what the commands share -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, checked as far as it can be without the data."""

    storage: Storage
    sampler: Sampler
    pruner: Pruner
    search: list[str]
    fixed: list[str]
    trials: int | None
    seed: int


def _asked(
    *,
    study: str,
    search: list[str] | None,
    change: list[str] | None,
    sampler: str,
    pruner: str,
    trials: int | None,
    seed: int,
    storage: str | None,
) -> _Asked:
    from medqa_tui.paths import get_paths
    from medqa_tui.training.dealing import Pruner, Sampler
    from medqa_tui.training.study import Storage

    return _Asked(
        Storage.of(get_paths(), study, storage),
        _word(Sampler, "sampler", sampler),
        _word(Pruner, "pruner", pruner),
        search or [],
        list(training.read_changes(change or [])),
        trials,
        seed,
    )


def _word(kind: Any, option: str, value: str) -> Any:
    known = [str(each) for each in kind]
    if value not in known:
        raise UsageError(f"There is no such {option}:", f"{value}.", f"Known: {', '.join(known)}.")
    return kind(value)


def _sweep(
    ctx: typer.Context,
    kind: str,
    wanted: AnyWanted,
    asked: _Asked,
    choose: Callable[[AnyWanted], None],
) -> int:
    from medqa_tui.offline import go_offline

    go_offline()
    from medqa_tui.paths import get_paths
    from medqa_tui.training import sweep as sweeping
    from medqa_tui.training.dealing import Sampler
    from medqa_tui.training.search_space import read_space

    grid = asked.sampler is Sampler.GRID
    space = read_space(kind, wanted.preset, asked.search, asked.fixed, grid=grid)
    cancel = threading.Event()
    with interrupt.first_calls(cancel.set):
        whole = sweeping.Sweep(
            kind=kind,
            wanted=wanted,
            prepared=_prepared(kind, wanted, asked.storage.study, cancel),
            space=space,
            storage=asked.storage,
            sampler=asked.sampler,
            pruner=asked.pruner,
            limit=asked.trials,
            seed=asked.seed,
            watched=get_paths().trainings,
        )
        study = _run(whole, cancel)
        elsewhere = sweeping.at_work(study)
        if not elsewhere:
            with diagnostics.StatusLine("Making the adapter") as line:
                best = sweeping.make_adapter(whole, study, train_runs.showing(line), cancel)
    train_study.tell_study(ctx, study, asked.storage)
    if elsewhere:
        diagnostics.note(
            f"{elsewhere} trials run in other processes; the last of them makes the adapter."
        )
        return ExitCode.OK
    diagnostics.note(f"{wanted.name} is the adapter of trial {best.number}.")
    choose(wanted)
    return ExitCode.OK


def _prepared(kind: str, wanted: Any, study: str, cancel: threading.Event) -> Any:
    from medqa_tui.training.progress import Stopped
    from medqa_tui.training.sweep import SweepStopped

    commands: Any = train_generator if kind == "generator" else train_reranker
    jobs = training.jobs_of(kind)
    try:
        return training.prepared(jobs, wanted, commands.tell_data, lambda event: None, cancel)
    except Stopped:
        raise SweepStopped(study) from None


def _run(whole: Sweep, cancel: threading.Event) -> optuna.Study:
    from medqa_tui.training import sweep as sweeping

    with diagnostics.StatusLine("Opening the study") as line:

        def on_event(number: int, limit: int, event: TrainEvent) -> None:
            # A trial that is tried again has a number beyond the last.
            train_runs.showing(line, f"Trial {number} ({limit} in all): ")(event)

        return sweeping.run(whole, on_event, train_study.tell_trial, cancel)
