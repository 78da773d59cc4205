"""`medqa-tui train generator`: from questions and answers to an adapter that answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import choosing, diagnostics, model, options, output, terminal, training
from medqa_tui.cli.words import counted
from medqa_tui.errors import ExitCode, NotSetUpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths
    from medqa_tui.training.generator import Trained
    from medqa_tui.training.generator_job import Prepared, Wanted
    from medqa_tui.training.job import Job


def command(
    ctx: typer.Context,
    *,
    output_name: training.OutputName,
    data: training.PairsData = None,
    preset: training.GeneratorPresetName = "starter",
    change: training.Change = None,
    with_evidence: Annotated[
        bool | None,
        typer.Option(
            "--with-evidence/--no-evidence", help="Whether it learns to answer from passages."
        ),
    ] = None,
    seed: training.Seed = None,
    data_folder: training.DataFolder = None,
    dry_run: training.DryRun = False,
    resume: training.Resume = False,
    use: Annotated[bool, typer.Option("--use", help="Answer with it from now on.")] = False,
) -> int:
    """Teach a model to answer, as an adapter of the profile's own model.

    Where all weights are trained (preset classic), the result is a model of its own, which the
    profile uses from now on with --use.

    Exit codes: 0 trained, 1 failed, 2 the data or a setting is wrong, 3 the model is not set up,
    130 stopped: --resume goes on.
    """
    changes = [*training.seeded(seed), *(change or [])]
    if with_evidence is not None:
        changes.append(f"evidence={str(with_evidence).lower()}")
    wanted, active = wanted_of(
        ctx,
        output_name,
        data or ["starter"],
        preset_name=preset,
        change=changes,
        data_folder=data_folder,
    )
    trained = training.carry_out(
        "generator",
        wanted,
        tell_data,
        lambda prepared: _tell_plan(ctx, wanted, prepared),
        dry_run=dry_run,
        resume=resume,
    )
    if trained is not None:
        _tell_outcome(ctx, wanted, trained)
        finish(wanted, active, use=use)
    return ExitCode.OK


def finish(wanted: Job, active: Active, *, use: bool) -> None:
    """Say where the result is, or answer with it from now on."""
    from medqa_tui.paths import get_paths

    paths = get_paths()
    whole = wanted.output.parent == paths.models
    if not use:
        diagnostics.note(f"It is in {wanted.output}.")
        if whole:
            diagnostics.note(f"To answer with it: medqa-tui model use {wanted.name}")
        else:
            training.tell_use(wanted.name, "answer")
            diagnostics.note(
                f"To measure what it is worth: medqa-tui adapter compare {wanted.name} base"
            )
        return
    if whole:
        from medqa_tui.models import library

        model.say_trained(library.use_trained(paths, wanted.name, active.profile), wanted.name)
        return
    choosing.use(paths, active.profile, wanted.name)
    diagnostics.note(f"The profile {active.profile} answers with {wanted.name} from now on.")


def wanted_of(
    ctx: typer.Context,
    name: str,
    data: list[str],
    *,
    preset_name: str,
    change: list[str],
    data_folder: Path | None,
) -> tuple[Wanted, Active]:
    """Return what is to be trained, and the profile whose model it is.

    Raises:
        UsageError: The name, the preset or a setting is wrong.
        NotSetUpError: The profile is not installed.
    """
    from medqa_tui.paths import get_paths
    from medqa_tui.training.generator_presets import Method, read_generator_preset

    training.require_name(name)
    preset = read_generator_preset(preset_name, training.read_changes(change))
    training.require_training()
    from medqa_tui.training.generator_job import Wanted

    paths, chosen = get_paths(), options.current(ctx)
    active = _active(paths, chosen.profile or preset.profile)
    base = active.generator_dir(paths)
    record = training.require_base(base, active.base, f"medqa-tui setup --profile {active.profile}")
    whole = Method(preset.method) is Method.FULL
    output_folder = (paths.models if whole else paths.adapters) / name
    training.require_free(output_folder, whole=whole)
    wanted = training.job(
        ctx,
        Wanted,
        name=name,
        base=base,
        record=record,
        data=data,
        data_folder=data_folder,
        output_folder=output_folder,
        base_licence=record.licence,
        preset=preset,
        preset_name=preset_name,
    )
    return wanted, active


def _active(paths: Paths, profile: str) -> Active:
    from medqa_tui.models.active import load_active
    from medqa_tui.models.catalog import get_profile

    get_profile(profile)
    active = load_active(paths, profile)
    if active is None or active.is_remote:
        raise NotSetUpError(
            "There is no model on this machine to train.",
            f"The profile {profile} "
            + ("answers through a server." if active else "is not set up."),
            f"medqa-tui setup --profile {'starter' if active else profile}",
        )
    return active


def tell_data(prepared: Prepared) -> None:
    """Say what is learnt from, and what measures the run."""
    training.tell_sources(prepared.sources)
    parted, silent = prepared.parted, prepared.abstaining
    teach = "teaches" if silent == 1 else "teach"
    teaching = f"; {silent} of them {teach} it to say when the passages hold no answer"
    diagnostics.note(
        f"It learns from {counted(len(parted.train), 'example')}{teaching if silent else ''}."
    )
    if parted.held:
        diagnostics.note(
            f"Kept out, to measure the run: {counted(len(parted.held), 'example')} on "
            f"{counted(parted.topics, 'other topic')}. Left out, since they nearly repeat what is "
            f"kept out: {parted.near}."
        )
    else:
        diagnostics.note("Nothing is kept out, so the run is not measured; ten examples allow it.")
    if prepared.cut:
        diagnostics.note(f"Cut to fit a row (max_tokens): {counted(prepared.cut, 'answer')}.")
    if prepared.left_out:
        diagnostics.note(
            f"Left out: {counted(prepared.left_out, 'example')} whose question and passages alone "
            "fill a row (max_tokens)."
        )


def _tell_plan(ctx: typer.Context, wanted: Wanted, prepared: Prepared) -> None:
    from medqa_tui.training.generator import measure_step, total_steps

    with diagnostics.StatusLine("Measuring one step"):
        cost = measure_step(wanted.task(), prepared.batches)
    rate = cost.tokens / cost.seconds
    training.tell_plan(
        ctx,
        training.Plan(
            steps=total_steps(len(prepared.batches), wanted.preset),
            reads={"examples": len(prepared.lessons), "tokens": prepared.tokens},
            step=cost.seconds,
            total=prepared.tokens / rate,
            memory=cost.memory,
            rate=rate,
            settings=wanted.preset,
        ),
    )


def _tell_outcome(ctx: typer.Context, wanted: Wanted, trained: Trained) -> None:
    from medqa_tui.training import curve
    from medqa_tui.training.progress import duration

    if options.current(ctx).json:
        output.emit_record(
            {
                "name": wanted.name,
                "folder": str(wanted.output),
                "losses": trained.losses,
                "validation_losses": trained.validation,
                "stopped_early": trained.stopped_early,
            }
        )
        return
    rows = [(step, _last(trained.losses, step), f"{loss:.3f}") for step, loss in trained.validation]
    if rows:
        output.table(("step", "training loss", "validation loss"), rows)
    unicode = terminal.can_show_unicode(sys.stderr)
    rate = trained.tokens / max(trained.seconds, 1e-9)
    diagnostics.note(f"Trained for {duration(trained.seconds)}, {rate:.0f} tokens/s.")
    if trained.losses:
        (_, first), (_, last) = trained.losses[0], trained.losses[-1]
        diagnostics.note(
            f"Training loss from {first:.3f} to {last:.3f}: "
            + curve.line(trained.losses, unicode=unicode)
        )
    if trained.stopped_early:
        diagnostics.note("It ended early, since it no longer got better; its best is kept.")


def _last(losses: Sequence[tuple[int, float]], step: int) -> str:
    """Return the loss at `step` or just before."""
    before = [loss for at, loss in losses if at <= step]
    return f"{before[-1]:.3f}" if before else ""
