"""`medqa-tui train`: from questions and answers to an adapter."""

from __future__ import annotations

import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import diagnostics, options, output, train_generator, train_runs
from medqa_tui.errors import ExitCode, MedQAError, NotSetUpError, UsageError

if TYPE_CHECKING:
    from medqa_tui.paths import Paths
    from medqa_tui.training.rerank_job import Outcome, Prepared, Wanted

app = options.new_app("Train an adapter from questions and answers.")


@app.callback()
def _group() -> None:
    """Train an adapter from questions and answers."""


app.command("generator")(train_generator.command)
app.command("list")(train_runs.command)


@app.command()
def reranker(
    ctx: typer.Context,
    *,
    output_name: Annotated[
        str, typer.Option("--output", help="Name of the new adapter.", show_default=False)
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(help="medquad, starter, an added corpus or a JSONL file; may be repeated."),
    ] = None,
    preset: Annotated[str, typer.Option(help="Name of the settings.")] = "starter-rerank",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one setting of the preset, as key=value."),
    ] = None,
    data_folder: Annotated[
        Path | None,
        typer.Option(help="Where MedQuAD, its split and the held-out topics lie."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how long it would take, from one step.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of this name.")
    ] = False,
    use: Annotated[
        bool, typer.Option("--use", help="Search with it from now on; setup goes back.")
    ] = False,
) -> int:
    """Teach a re-ranker which passage answers a question.

    A JSONL file has one object a line: query, positive and, if known, negatives. Without negatives
    they are searched for among the file's other passages.
    """
    wanted = _wanted(
        ctx,
        output_name,
        data or ["starter"],
        preset_name=preset,
        change=change or [],
        data_folder=data_folder,
    )
    require_training()
    from medqa_tui.cli import interrupt
    from medqa_tui.offline import go_offline

    go_offline()
    from medqa_tui.training import rerank_job

    cancel = threading.Event()
    with (
        interrupt.first_calls(cancel.set),
        train_runs.recorded(
            wanted.name, "reranker", wanted.output, cancel, resume=resume, dry_run=dry_run
        ) as record,
    ):
        with diagnostics.StatusLine("Reading the data") as line:
            prepared = rerank_job.prepare(wanted, train_runs.telling(line, record), cancel)
        _tell_data(prepared)
        if dry_run:
            _tell_plan(ctx, wanted, prepared)
            return ExitCode.OK
        with diagnostics.StatusLine("Training") as line:
            outcome = rerank_job.run(
                wanted,
                prepared,
                resume=resume,
                on_event=train_runs.telling(line, record),
                cancel=cancel,
            )
    _tell_outcome(ctx, wanted, outcome)
    if use:
        _use(ctx, wanted)
    return ExitCode.OK


def _use(ctx: typer.Context, wanted: Wanted) -> None:
    from dataclasses import replace

    from medqa_tui.config import load_settings
    from medqa_tui.models.active import load_active
    from medqa_tui.paths import get_paths

    profile = load_settings(options.current(ctx).overrides()).profile
    active = load_active(get_paths(), profile)
    if active is None:
        raise NotSetUpError(
            "The adapter is made, but there is no search to use it in.",
            f"The profile {profile} is not set up.",
            "medqa-tui setup",
        )
    replace(active, reranker=wanted.name).write(get_paths())
    diagnostics.note(f"The profile {profile} searches with {wanted.name} from now on.")


def require_training() -> None:
    """Raise unless the packages that train are installed."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise MedQAError(
            "Training needs packages that are not installed.",
            f"Missing: {', '.join(missing)}.",
            "pip install 'medqa-tui[train]'",
        )


def _wanted(
    ctx: typer.Context,
    name: str,
    data: list[str],
    *,
    preset_name: str,
    change: list[str],
    data_folder: Path | None,
) -> Wanted:

    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths
    from medqa_tui.training.presets import RerankPreset, read_preset
    from medqa_tui.training.sources import DATA_VARIABLE

    train_generator.require_name(name)
    pairs = [text.partition("=") for text in change]
    for key, equals, _ in pairs:
        if not equals:
            raise UsageError("A setting needs a value.", f"--set {key}.", f"--set {key}=VALUE")
    preset = read_preset(
        "reranker", RerankPreset, preset_name, {key: value for key, _, value in pairs}
    )
    from medqa_tui.training.rerank_job import Wanted

    paths = get_paths()
    train_generator.require_free(paths.adapters / name, whole=False)
    settings = load_settings(options.current(ctx).overrides())
    base, base_id, revision = _base(paths, preset.base)
    variable = os.environ.get(DATA_VARIABLE)
    return Wanted(
        name=name,
        base=base,
        base_id=base_id,
        base_revision=revision,
        data=tuple(dict.fromkeys(data)),
        data_folder=data_folder or (Path(variable) if variable else None),
        store=paths.corpora / "corpora.db",
        output=paths.adapters / name,
        work=paths.cache / "training" / name,
        cache=paths.cache / "training" / "vectors",
        preset=preset,
        preset_name=preset_name,
        threads=settings.engine.threads,
        device=settings.engine.device,
    )


def _base(paths: Paths, component: str) -> tuple[Path, str, str]:
    """Return folder, public id and revision of the encoder that the preset fits.

    Raises:
        NotSetUpError: It is not installed, or another model lies in its place.
    """
    from medqa_tui.models.records import InstallRecord

    folder = paths.models / component
    record = InstallRecord.read(folder)
    problems = record.problems(folder) if record else ["it is not installed"]
    if record is None or problems:
        raise NotSetUpError(
            "The model to train on is not there.",
            f"{component}: {'; '.join(problems)}.",
            "medqa-tui setup",
        )
    return folder, record.id, record.revision


def _tell_data(prepared: Prepared) -> None:
    for source in prepared.sources:
        refused = sum(source.heldout.values())
        left = ", ".join(f"{count} {why}" for why, count in source.skipped.items() if count)
        diagnostics.note(
            f"{source.name}: {len(source.examples)} examples; {refused} left out because they "
            "touch held-out topics" + (f"; {left}" if left else "") + "."
        )
    diagnostics.note(
        f"{len(prepared.groups)} questions asked, {prepared.pairs} pairs; "
        f"{len(prepared.validation)} other questions measure the run."
    )


def _tell_plan(ctx: typer.Context, wanted: Wanted, prepared: Prepared) -> None:
    from medqa_tui.training.progress import duration
    from medqa_tui.training.reranker import measure_step

    cost = measure_step(wanted.base, prepared.groups, wanted.preset, wanted.torch_device())
    total = cost.seconds * wanted.preset.steps
    record = {
        "steps": wanted.preset.steps,
        "pairs": prepared.pairs,
        "seconds_per_step": round(cost.seconds, 2),
        "seconds": round(total),
        "memory_mb": round(cost.memory / 1e6),
        "settings": asdict(wanted.preset),
    }
    if options.current(ctx).json:
        _emit(record)
        return
    rows = [
        ("steps", str(record["steps"])),
        ("pairs", str(record["pairs"])),
        ("a step", f"{cost.seconds:.2f} s"),
        ("all of it", duration(total)),
        ("memory", f"{record['memory_mb']} MB"),
    ]
    output.table(("what", "value"), rows)


def _tell_outcome(ctx: typer.Context, wanted: Wanted, outcome: Outcome) -> None:
    if options.current(ctx).json:
        _emit({"name": wanted.name, "folder": str(wanted.output), "validation": asdict(outcome)})
        return
    rows = [
        ("search alone", f"{outcome.before:.3f}"),
        ("re-ranker alone", f"{outcome.alone:.3f}"),
        ("both", f"{outcome.fused:.3f}"),
    ]
    output.table((f"MRR on {outcome.questions} questions kept out", "value"), rows)
    diagnostics.note(f"The adapter is in {wanted.output}.")


def _emit(record: dict[str, Any]) -> None:
    from medqa_tui.contract import SCHEMA_VERSION

    output.emit_json({"schema_version": SCHEMA_VERSION, **record})
