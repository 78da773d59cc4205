"""`medqa-tui train sweep show`: the trials of a study, and what mattered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import diagnostics, options, output, terminal, training
from medqa_tui.errors import ExitCode, MedQAError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from medqa_tui.training.study import Storage

StoragePlace = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL|PATH",
        help="Where the study is kept, for other machines too: an SQLite file, a .journal file on "
        "a shared disk, or a database's address.",
        show_default=False,
    ),
]


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study's name.")],
    *,
    storage: StoragePlace = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw what mattered into this PNG.", show_default=False),
    ] = None,
) -> int:
    """Show the trials of a study, and which settings mattered.

    Exit codes: 0 shown, 1 it cannot be read or drawn, 2 there is no such study.
    """
    training.require_training("optuna")
    from medqa_tui.paths import get_paths
    from medqa_tui.training.study import Storage, read_study

    place = Storage.of(get_paths(), name, storage)
    study = read_study(place)
    tell_study(ctx, study, place)
    if plot is not None:
        _draw(study, plot)
    return ExitCode.OK


def _draw(study: optuna.Study, file: Path) -> None:
    """Draw what mattered into `file`.

    Raises:
        MedQAError: Too few trials say, or the picture cannot be drawn or written.
    """
    from medqa_tui.training import study as studies
    from medqa_tui.training import trials

    training.require_training("matplotlib")
    shares = trials.importances(study)
    if not shares:
        raise MedQAError(
            "It cannot be said yet what mattered.",
            f"That takes {trials.FEWEST} trials that came to their end, with losses that differ; "
            f"there are {len(studies.whole(study))}.",
            "the sweep's own command with more --trials",
        )
    try:
        trials.write_png(shares, file)
    except (OSError, ValueError) as error:
        raise MedQAError(
            "The picture cannot be written.", f"{file}: {error}.", "Give a PNG file: --plot FILE"
        ) from error
    diagnostics.note(f"What mattered is drawn in {file}.")


def tell_trial(trial: FrozenTrial) -> None:
    """Say how a trial ended."""
    from medqa_tui.training import study as studies
    from medqa_tui.training import trials

    loss = f", validation loss {trial.value:.4f}" if trial.value is not None else ""
    why = trial.user_attrs.get(studies.REASON)
    settings = ", ".join(f"{key} {_short(value)}" for key, value in trial.params.items())
    diagnostics.note(
        f"Trial {trial.number} {trials.word_of(trial)}{loss} ({settings})"
        + (f": {why}" if why else ".")
    )


def tell_study(ctx: typer.Context, study: optuna.Study, place: Storage) -> None:
    """Write the trials, and how much each setting mattered."""
    from medqa_tui.training import study as studies
    from medqa_tui.training import trials

    shown = trials.shown(study)
    best = next(iter(studies.whole(study)), None)
    shares = trials.importances(study)
    if options.current(ctx).json:
        identity = study.user_attrs.get(studies.IDENTITY, {})
        output.emit_record(
            {
                "study": study.study_name,
                "storage": studies.hidden(place.place),
                **{key: identity.get(key) for key in ("kind", "output", "sampler", "pruner")},
                "space": identity.get("space"),
                "trials": [trials.record_of(study, trial) for trial in shown],
                "best": None if best is None else best.number,
                "importances": shares,
            }
        )
        return
    searched = sorted({key for trial in shown for key in trial.params})
    rows = [_row(trial, best, searched) for trial in shown]
    output.table(("trial", "state", "loss", *searched, "took"), rows)
    unicode = terminal.can_show_unicode(sys.stdout)
    if shares:
        output.write()
        bars = [
            (key, f"{share:.2f}", trials.bar(share, unicode=unicode))
            for key, share in shares.items()
        ]
        output.table(("setting", "importance", ""), bars)


def _row(trial: FrozenTrial, best: FrozenTrial | None, searched: list[str]) -> tuple[object, ...]:
    from medqa_tui.training import trials
    from medqa_tui.training.progress import duration

    is_best = best is not None and best.number == trial.number
    loss = "" if trial.value is None else f"{trial.value:.4f}"
    return (
        trial.number,
        "best" if is_best else trials.word_of(trial),
        loss,
        *(_short(trial.params.get(key, "")) for key in searched),
        "" if trial.duration is None else duration(trial.duration.total_seconds()),
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
