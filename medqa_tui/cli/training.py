"""What the commands that train share: their options, what they need, what they tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medqa_tui.cli import diagnostics, interrupt, options, output, train_runs
from medqa_tui.cli.words import counted
from medqa_tui.errors import MedQAError, NotSetUpError, UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from medqa_tui.models.records import InstallRecord
    from medqa_tui.training.job import Job, Tell
    from medqa_tui.training.sources import Source

    JobOfKind = TypeVar("JobOfKind", bound=Job)

OutputName = Annotated[
    str,
    typer.Option("--output", metavar="NAME", help="Name of the new adapter.", show_default=False),
]
PairsData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME|FILE",
        help="core13, starter, medquad, an added corpus, or a JSONL or CSV file with question and "
        "answer; may be repeated.",
    ),
]
RerankData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME|FILE",
        help="medquad, starter, an added corpus or a JSONL file; may be repeated.",
    ),
]
GeneratorPresetName = Annotated[
    str,
    typer.Option(
        "--preset", metavar="NAME", help="Settings by name: starter, flashcards or classic."
    ),
]
RerankPresetName = Annotated[
    str,
    typer.Option(
        "--preset", metavar="NAME", help="Settings by name: starter-rerank or wide-rerank."
    ),
]
Change = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting of the preset; may be repeated."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        help="Decides what is drawn; the preset's own without it.",
        show_default=False,
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where MedQuAD, its split and the held-out topics lie."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how long it would take, from one step.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of this name.")
]


def require_training(*more: str) -> None:
    """Raise unless the packages that train, and those named, are installed."""
    from importlib.util import find_spec

    needed = ("torch", "transformers", "peft", *more)
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MedQAError(
            "Training needs packages that are not installed.",
            f"Missing: {', '.join(missing)}.",
            "pip install 'medqa-tui[train]'",
        )


def seeded(seed: int | None) -> list[str]:
    """Return `--seed` as a setting of the preset."""
    return [] if seed is None else [f"seed={seed}"]


def read_changes(change: Sequence[str]) -> dict[str, str]:
    """Return what `--set key=value` says, by key.

    Raises:
        UsageError: One has no value.
    """
    pairs = [text.partition("=") for text in change]
    for key, equals, _ in pairs:
        if not equals:
            raise UsageError("A setting needs a value.", f"--set {key}.", f"--set {key}=VALUE")
    return {key: value for key, _, value in pairs}


def require_name(name: str) -> None:
    """Refuse a name that no adapter trained here may have.

    Raises:
        UsageError: It is not a plain name, or a shipped adapter has it.
    """
    from medqa_tui.models import adapters

    try:
        adapters.require_name(name)
    except UsageError as error:
        # The hint there names another command's option.
        raise UsageError(error.title, error.detail, "Choose another: --output my-adapter") from None


def require_free(folder: Path, *, whole: bool) -> None:
    """Refuse a name under which something lies that was not trained here.

    Args:
        whole: Whether a whole model is trained, and not an adapter.

    Raises:
        UsageError: Something that was downloaded has the name.
    """
    from medqa_tui.models.records import TRAINED, InstallRecord

    record = InstallRecord.read(folder)
    own = record is not None and record.source == TRAINED if whole else record is None
    if folder.exists() and not own:
        raise UsageError(
            "This name is taken:", f"{folder} was downloaded.", "Choose another: --output my-model"
        )


def require_base(folder: Path, name: str, hint: str) -> InstallRecord:
    """Return the record of the installed model in `folder`.

    Raises:
        NotSetUpError: It is not there, or damaged.
    """
    from medqa_tui.models.records import InstallRecord

    record = InstallRecord.read(folder)
    problems = record.problems(folder) if record else ["it is not installed"]
    if record is None or problems:
        detail = f"{name}: {'; '.join(problems)}."
        raise NotSetUpError("The model to train on is not there.", detail, hint)
    return record


def job(
    ctx: typer.Context,
    shape: type[JobOfKind],
    *,
    name: str,
    base: Path,
    record: InstallRecord,
    data: Sequence[str],
    data_folder: Path | None,
    output_folder: Path,
    **own: Any,
) -> JobOfKind:
    """Return what is to be trained, with the folders and settings of this machine.

    Args:
        own: What only this kind has.
    """
    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths
    from medqa_tui.training.sources import DATA_VARIABLE

    paths = get_paths()
    settings = load_settings(options.current(ctx).overrides())
    variable = os.environ.get(DATA_VARIABLE)
    return shape(
        name=name,
        base=base,
        base_id=record.id,
        base_revision=record.revision,
        data=tuple(dict.fromkeys(data)),
        data_folder=data_folder or (Path(variable) if variable else None),
        store=paths.corpora / "corpora.db",
        output=output_folder,
        work=paths.cache / "training" / name,
        threads=settings.engine.threads,
        device=settings.engine.device,
        **own,
    )


def jobs_of(kind: str) -> Any:
    """Return the module that prepares and runs a training of a kind: generator or reranker."""
    from medqa_tui.offline import go_offline

    go_offline()
    from medqa_tui.training import generator_job, rerank_job

    return generator_job if kind == "generator" else rerank_job


def prepared(
    jobs: Any, wanted: Job, tell_data: Callable[[Any], None], record: Tell, cancel: Event
) -> Any:
    """Return the data of a run, once it was told of."""
    with diagnostics.StatusLine("Reading the data") as line:
        found = jobs.prepare(wanted, train_runs.telling(line, record), cancel)
    tell_data(found)
    return found


def carry_out(
    kind: str,
    wanted: Job,
    tell_data: Callable[[Any], None],
    tell_plan: Callable[[Any], None],
    *,
    dry_run: bool,
    resume: bool,
) -> Any:
    """Prepare a run and train it; return what it came to, or None after a dry run.

    Args:
        tell_data: Says what is learnt from.
        tell_plan: Measures a step and says what all of them will take; for a dry run.

    Raises:
        Stopped: Ctrl-C was pressed, or the run was asked to end.
    """
    jobs, cancel = jobs_of(kind), Event()
    if resume:
        from medqa_tui.training.job import require_checkpoint

        require_checkpoint(wanted.work)
    with (
        interrupt.first_calls(cancel.set),
        train_runs.recorded(
            wanted.name, kind, wanted.output, cancel, resume=resume, dry_run=dry_run
        ) as record,
    ):
        data = prepared(jobs, wanted, tell_data, record, cancel)
        if dry_run:
            tell_plan(data)
            return None
        with diagnostics.StatusLine("Loading the model") as line:
            tell = train_runs.telling(line, record)
            return jobs.run(wanted, data, resume=resume, on_event=tell, cancel=cancel)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take, from one measured step.

    Attributes:
        reads: What it reads in all, by what is counted.
        step: Seconds of a step.
        total: Seconds of the whole run.
        memory: Bytes.
        rate: Tokens a second, where they are counted.
        settings: The preset, as it was changed.
    """

    steps: int
    reads: Mapping[str, int]
    step: float
    total: float
    memory: int
    settings: DataclassInstance
    rate: float | None = None


def tell_plan(ctx: typer.Context, plan: Plan) -> None:
    """Write what a run will take."""
    from medqa_tui.training.progress import duration

    if options.current(ctx).json:
        rate = {} if plan.rate is None else {"tokens_per_second": round(plan.rate, 1)}
        output.emit_record(
            {
                "steps": plan.steps,
                **plan.reads,
                "seconds_per_step": round(plan.step, 2),
                **rate,
                "seconds": round(plan.total),
                "memory_mb": round(plan.memory / 1e6),
                "settings": asdict(plan.settings),
            }
        )
        return
    rows = [
        ("steps", f"{plan.steps:,}"),
        *((what, f"{count:,}") for what, count in plan.reads.items()),
        ("time of a step", f"{plan.step:.2f} s"),
        *([] if plan.rate is None else [("tokens a second", f"{plan.rate:.0f}")]),
        ("time in all", duration(plan.total)),
        ("memory", f"{plan.memory / 1e9:.1f} GB"),
    ]
    output.table(("what", "value"), rows)
    diagnostics.note("Nothing was trained. To begin: the same command without --dry-run")


def tell_use(name: str, what: str) -> None:
    """Say how a new adapter comes into use, to answer or to search with."""
    diagnostics.note(f"To {what} with it: medqa-tui adapter use {name}")


def tell_sources(sources: Sequence[Source]) -> None:
    """Say how much each source gives, and what was left out of it."""
    for source in sources:
        refused = sum(source.heldout.values())
        left = [f"{why} ({count})" for why, count in source.skipped.items() if count]
        diagnostics.note(
            f"{source.name}: {counted(len(source.examples), 'example')}. Left out: "
            + ", ".join([f"on held-out topics ({refused})", *left])
            + "."
        )
