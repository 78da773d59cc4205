"""`medqa-tui train reranker`: which passage answers a question."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import choosing, diagnostics, options, output, training
from medqa_tui.cli.words import counted
from medqa_tui.errors import ExitCode, NotSetUpError

if TYPE_CHECKING:
    from medqa_tui.training.rerank_job import Outcome, Prepared, Wanted


def command(
    ctx: typer.Context,
    *,
    output_name: training.OutputName,
    data: training.RerankData = None,
    preset: training.RerankPresetName = "starter-rerank",
    change: training.Change = None,
    seed: training.Seed = None,
    data_folder: training.DataFolder = None,
    dry_run: training.DryRun = False,
    resume: training.Resume = False,
    use: Annotated[
        bool, typer.Option("--use", help="Search with it from now on; setup goes back.")
    ] = False,
) -> int:
    """Teach a re-ranker which passage answers a question.

    A JSONL file has one object a line: query, positive and, if known, negatives. Without negatives
    they are searched for among the file's other passages.

    Exit codes: 0 trained, 1 failed, 2 the data or a setting is wrong, 3 the model is not set up,
    130 stopped: --resume goes on.
    """
    wanted = wanted_of(
        ctx,
        output_name,
        data or ["starter"],
        preset_name=preset,
        change=[*training.seeded(seed), *(change or [])],
        data_folder=data_folder,
    )
    training.require_training()
    outcome = training.carry_out(
        "reranker",
        wanted,
        tell_data,
        lambda prepared: _tell_plan(ctx, wanted, prepared),
        dry_run=dry_run,
        resume=resume,
    )
    if outcome is not None:
        _tell_outcome(ctx, wanted, outcome)
        finish(ctx, wanted.name, wanted.output, use=use)
    return ExitCode.OK


def finish(ctx: typer.Context, name: str, folder: Path, *, use: bool) -> None:
    """Say where the adapter is, or search with it from now on."""
    if not use:
        diagnostics.note(f"It is in {folder}.")
        training.tell_use(name, "search")
        return
    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths

    profile = load_settings(options.current(ctx).overrides()).profile
    try:
        active = choosing.use(get_paths(), profile, name)
    except NotSetUpError as error:
        raise NotSetUpError(
            "The adapter is made, but there is no search to use it in.",
            f"The profile {profile} is not set up.",
            error.hint,
        ) from None
    diagnostics.note(f"The profile {active.profile} searches with {name} from now on.")


def wanted_of(
    ctx: typer.Context,
    name: str,
    data: list[str],
    *,
    preset_name: str,
    change: list[str],
    data_folder: Path | None,
) -> Wanted:
    """Return what is to be trained.

    Raises:
        UsageError: The name, the preset or a setting is wrong.
        NotSetUpError: The encoder is not installed.
    """
    from medqa_tui.paths import get_paths
    from medqa_tui.training.presets import RerankPreset, read_preset

    training.require_name(name)
    preset = read_preset("reranker", RerankPreset, preset_name, training.read_changes(change))
    from medqa_tui.training.rerank_job import Wanted

    paths = get_paths()
    training.require_free(paths.adapters / name, whole=False)
    base = paths.models / preset.base
    return training.job(
        ctx,
        Wanted,
        name=name,
        base=base,
        record=training.require_base(base, preset.base, "medqa-tui setup"),
        data=data,
        data_folder=data_folder,
        output_folder=paths.adapters / name,
        cache=paths.cache / "training" / "vectors",
        preset=preset,
        preset_name=preset_name,
    )


def tell_data(prepared: Prepared) -> None:
    """Say what is learnt from, and what measures the run."""
    training.tell_sources(prepared.sources)
    diagnostics.note(
        f"It learns from {counted(prepared.pairs, 'pair')} of question and passage, of "
        f"{counted(len(prepared.groups), 'question')}; "
        f"{counted(len(prepared.validation), 'question')} kept out to measure the run."
    )


def _tell_plan(ctx: typer.Context, wanted: Wanted, prepared: Prepared) -> None:
    from medqa_tui.training.reranker import measure_step

    preset = wanted.preset
    with diagnostics.StatusLine("Measuring one step"):
        cost = measure_step(wanted.base, prepared.groups, preset, wanted.torch_device())
    training.tell_plan(
        ctx,
        training.Plan(
            steps=preset.steps,
            reads={"pairs": prepared.pairs},
            step=cost.seconds,
            total=cost.seconds * preset.steps,
            memory=cost.memory,
            settings=preset,
        ),
    )


def _tell_outcome(ctx: typer.Context, wanted: Wanted, outcome: Outcome) -> None:
    if options.current(ctx).json:
        output.emit_record(
            {"name": wanted.name, "folder": str(wanted.output), "validation": asdict(outcome)}
        )
        return
    rows = [
        ("search alone", f"{outcome.before:.3f}"),
        ("re-ranker alone", f"{outcome.alone:.3f}"),
        ("both", f"{outcome.fused:.3f}"),
    ]
    output.table((f"MRR on {outcome.questions} questions kept out", "value"), rows)
