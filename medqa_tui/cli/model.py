"""`medqa-tui model`: list, choose, export and remove what profiles are made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import asking, completing, diagnostics, interrupt, options, output
from medqa_tui.cli.adapter_display import megabytes
from medqa_tui.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medqa_tui.models.active import Active
    from medqa_tui.models.library import Part, ProfileState
    from medqa_tui.paths import Paths

app = options.new_app("List, choose, export and remove the profiles' models.")

_Name = Annotated[
    str,
    typer.Argument(metavar="PROFILE", help="A profile.", autocompletion=completing.profiles),
]


@app.callback()
def model() -> None:
    """List, choose, export and remove the profiles' models.

    A profile names a language model, an embedding model and more that answer together; setup
    installs one.
    """


@app.command(name="list")
def list_(ctx: typer.Context) -> int:
    """List the profiles: which are installed, what each takes, and which one is in use."""
    from medqa_tui.models import library
    from medqa_tui.paths import get_paths

    found = library.states(get_paths(), _chosen(ctx))
    if options.current(ctx).json:
        output.emit_record({"profiles": [_row(each) for each in found]})
        return ExitCode.OK
    rows = [
        (
            each.profile.name,
            _state_word(each),
            each.active.base if each.active else each.profile.generator.id,
            each.profile.generator.licence,
            megabytes(each.installed_size) if each.installed_size else "",
            megabytes(each.download_size) if each.download_size else "",
        )
        for each in found
    ]
    heads = ("profile", "state", "language model", "licence", "on disk", "to download")
    output.table(heads, rows)
    return ExitCode.OK


@app.command()
def info(ctx: typer.Context, name: _Name) -> int:
    """Show what a profile is made of, with revisions, licences and what others share with it."""
    from medqa_tui.models import library
    from medqa_tui.paths import get_paths

    found = library.state(get_paths(), name, _chosen(ctx))
    if options.current(ctx).json:
        output.emit_record({"profile": _row(found)})
        return ExitCode.OK
    output.write(found.profile.title, style="bold")
    output.write(found.profile.use)
    output.facts(_facts(found), 16)
    for part in found.parts:
        output.write()
        output.write(f"{part.slot.value.capitalize()}: {part.id}", style="bold")
        output.facts(_part_facts(part, name), 14, "  ")
    return ExitCode.OK


@app.command()
def use(ctx: typer.Context, name: _Name) -> int:
    """Answer with an installed profile from now on.

    A model that was trained here has a name of its own: the profile it was made for then answers
    with it.

    Exit codes: 0 in use, 1 the model is damaged, 2 there is no such profile, 3 it is not set up.
    """
    from medqa_tui.config.write import set_value
    from medqa_tui.models import library
    from medqa_tui.paths import get_paths

    paths = get_paths()
    if library.is_trained(paths, name):
        _use_trained(ctx, paths, name)
        return ExitCode.OK
    active = library.require_installed(paths, name)
    active.write(paths, current=True)
    set_value("profile", name)
    if options.current(ctx).json:
        output.emit_record({"profile": name, "base": active.base})
    else:
        diagnostics.note(f"The profile {name} answers from now on, with {active.base}.")
    _warn_if_overridden(ctx, name)
    return ExitCode.OK


def _use_trained(ctx: typer.Context, paths: Paths, name: str) -> None:
    from medqa_tui.models import library

    active = library.use_trained(paths, name)
    if options.current(ctx).json:
        output.emit_record({"profile": active.profile, "base": active.base, "model": name})
    else:
        say_trained(active, name)


def say_trained(active: Active, name: str) -> None:
    """Say that a profile answers with a model that was trained here, and what undoes it."""
    diagnostics.note(f"The profile {active.profile} answers with {name} from now on.")
    diagnostics.note(f"Back to the model as it came: medqa-tui setup --profile {active.profile}")


@app.command()
def remove(
    ctx: typer.Context,
    name: _Name,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if the profile is in use.", show_default=False),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)
    ] = False,
) -> int:
    """Delete a profile's models and index; what other profiles share stays, as do adapters.

    Exit codes: 0 deleted, 1 not wanted after all, 2 there is no such profile, it is in use, or
    nobody could be asked.
    """
    from medqa_tui.models import library
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.lock import setup_lock

    paths, chosen = get_paths(), _chosen(ctx)
    before = library.removable(paths, name, chosen, force=force)
    asking.before_deleting(
        ctx,
        f"Delete the profile {name} and free {megabytes(before.own_size)}?",
        yes=yes or force,
        again=f"medqa-tui model remove {name} --yes",
    )

    def on_wait() -> None:
        diagnostics.note("A setup is running; waiting for it.")

    with setup_lock(paths, on_wait):
        _stop_engine(name)
        freed = library.remove(paths, name, chosen, force=force)
    if options.current(ctx).json:
        output.emit_record({"removed": name, "freed_bytes": freed})
    else:
        diagnostics.note(f"Deleted the profile {name}: {megabytes(freed)} are free.")
    return ExitCode.OK


@app.command()
def export(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
) -> int:
    """Copy the models of a profile into a folder, for a machine without a network.

    There, `medqa-tui setup --from FOLDER` installs them. Stopped halfway, the same command goes
    on. --profile NAME exports another profile than the one in use.

    Exit codes: 0 exported, 1 failure, 2 the folder cannot be used, 3 not set up, 130 interrupted.
    """
    import threading

    from medqa_tui.models.bundle import export_bundle
    from medqa_tui.paths import get_paths

    cancel = threading.Event()
    with (
        diagnostics.progress(f"Exporting to {folder}", unit="bytes") as bar,
        interrupt.first_calls(cancel.set),
    ):
        made = export_bundle(get_paths(), _chosen(ctx), folder, bar.update, cancel)
    if options.current(ctx).json:
        record = {
            "profile": made.profile,
            "folder": str(made.folder),
            "bytes": made.size,
            "files": len(made.files),
        }
        output.emit_record(record)
    else:
        output.write(f"Exported: {made.profile}, {megabytes(made.size)}, in {made.folder}.")
        diagnostics.note(f"On the other machine: medqa-tui setup --from {made.folder}")
    return ExitCode.OK


# -- words -------------------------------------------------------------------------------------


def _chosen(ctx: typer.Context) -> str:
    from medqa_tui.config import load_settings

    return load_settings(options.current(ctx).overrides()).profile


def _state_word(found: ProfileState) -> str:
    if found.in_use:
        return "in use"
    if found.active is not None:
        return "installed"
    return "partly there" if any(part.record for part in found.parts) else "available"


def _facts(found: ProfileState) -> Iterator[tuple[str, str]]:
    yield "State", _state_word(found)
    yield "Adapter", (found.active.adapter if found.active else found.profile.adapter) or "none"
    yield "Memory needed", f"{found.profile.memory_mb} MB"
    yield "GPU memory", f"{found.profile.vram_mb} MB" if found.profile.vram_mb else ""
    yield "On disk", megabytes(found.installed_size) if found.installed_size else ""
    yield "Only its own", megabytes(found.own_size) if found.installed_size else ""
    yield "To download", megabytes(found.download_size) if found.download_size else ""
    yield "Other bases", ", ".join(found.profile.bases)


def _part_facts(part: Part, profile: str) -> Iterator[tuple[str, str]]:
    yield "State", "installed" if part.record else "not installed"
    yield "Licence", part.licence
    yield "Size", megabytes(part.size)
    if part.record is not None:
        yield "Revision", part.record.revision
        yield "Weights", part.record.quantization or "as published"
        yield "From", part.record.source
        yield "Installed", part.record.installed
    yield "Shared with", ", ".join(other for other in part.used_by if other != profile)
    yield "Folder", str(part.folder) if part.record else ""


def _row(found: ProfileState) -> dict[str, Any]:
    profile = found.profile
    return {
        "name": profile.name,
        "title": profile.title,
        "state": _state_word(found),
        "installed": found.active is not None,
        "in_use": found.in_use,
        "base": found.active.base if found.active else profile.generator.id,
        "adapter": found.active.adapter if found.active else profile.adapter,
        "memory_mb": profile.memory_mb,
        "vram_mb": profile.vram_mb,
        "bytes": found.installed_size,
        "own_bytes": found.own_size if found.installed_size else 0,
        "index_bytes": found.index_size,
        "download_bytes": found.download_size,
        "parts": [_part_row(part) for part in found.parts],
    }


def _part_row(part: Part) -> dict[str, Any]:
    record = part.record
    return {
        "slot": part.slot.value,
        "name": part.name,
        "id": part.id,
        "licence": part.licence,
        "installed": record is not None,
        "bytes": part.size,
        "revision": record.revision if record else None,
        "quantization": record.quantization if record else None,
        "source": record.source if record else None,
        "installed_at": record.installed if record else None,
        "used_by": list(part.used_by),
        "folder": str(part.folder),
    }


def _stop_engine(profile: str) -> None:
    """End an engine that holds the profile's files."""
    from medqa_tui.engine import connect, lifecycle
    from medqa_tui.paths import get_paths

    running = connect.status(get_paths())
    if running is not None and running.profile == profile:
        lifecycle.stop(get_paths())


def _warn_if_overridden(ctx: typer.Context, name: str) -> None:
    if (wins := _chosen(ctx)) != name:
        diagnostics.warn(f"A flag or MEDQA_PROFILE is set and wins: {wins} answers here.")
