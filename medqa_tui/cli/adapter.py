"""`medqa-tui adapter`: list, find, add, choose and remove LoRA adapters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import (
    adapter_compare,
    choosing,
    completing,
    diagnostics,
    interrupt,
    options,
    output,
    terminal,
)
from medqa_tui.cli import adapter_display as display
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.models.active import Active
    from medqa_tui.models.adapters import InstalledAdapter
    from medqa_tui.models.hub_search import FoundAdapter
    from medqa_tui.paths import Paths

app = options.new_app("List, find, add, choose and remove LoRA adapters.")

_Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="An adapter's name.", autocompletion=completing.adapters),
]
_Base = Annotated[
    str | None, typer.Option("--base", metavar="ID", help="Only adapters for this base model.")
]


@app.callback()
def adapter() -> None:
    """List, find, add, choose and remove LoRA adapters.

    An adapter changes how one base model answers. Those marked community come from other people:
    what their cards report was measured by nobody here.
    """


@app.command(name="list")
def list_(ctx: typer.Context, *, base: _Base = None) -> int:
    """List the adapters on this machine, which fit the model in use, and which is in use."""
    from medqa_tui.models import adapters
    from medqa_tui.models.base_names import same_base

    paths, active = _now(ctx)
    found = [
        each for each in adapters.installed(paths) if base is None or same_base(base, each.base)
    ]
    if options.current(ctx).json:
        output.emit_record({"adapters": [display.row(each, active) for each in found]})
        return ExitCode.OK
    display.table(found, active)
    return ExitCode.OK


@app.command()
def search(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="What to look for.")
    ] = None,
    *,
    base: _Base = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="Ask the model hub as well.", show_default=False)
    ] = False,
) -> int:
    """Find public adapters: those this program knows and, with --hub, all of the model hub.

    Exit codes: 0 something was found, 4 the hub cannot be reached, 5 nothing was found.
    """
    from medqa_tui.models.adapter_catalog import search as known

    wanted = tuple(words or ())
    listed = known(wanted, base)
    found = _ask_hub(ctx, wanted, base) if hub else []
    if options.current(ctx).json:
        record = {
            "adapters": [display.public_row(each) for each in listed],
            "hub": [display.found_row(each) for each in found],
        }
        output.emit_record(record)
    else:
        for each in listed:
            display.show_public(each)
        if found:
            rows = [(each.id, each.base, each.licence, each.downloads) for each in found]
            output.table(("on the hub", "base model", "licence", "downloads"), rows)
        if listed or found:
            diagnostics.note("All of these are made by others. medqa-tui adapter download ID")
    if not (listed or found):
        diagnostics.note(
            "No adapter fits." if hub else "No known adapter fits; --hub asks the hub."
        )
        return ExitCode.ABSTAINED
    return ExitCode.OK


@app.command()
def download(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="ID|FOLDER", help="A hub id (OWNER/NAME), or a folder.")
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it here.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="ID", help="Its base model, where it does not say it."),
    ] = None,
    revision: Annotated[
        str, typer.Option("--revision", metavar="REV", help="A branch, tag or commit of the hub.")
    ] = "main",
    subfolder: Annotated[
        str, typer.Option("--subfolder", metavar="PATH", help="Where in the repository it lies.")
    ] = "",
    use: Annotated[
        bool, typer.Option("--use", help="Answer with it from now on.", show_default=False)
    ] = False,
) -> int:
    """Add an adapter in PEFT format, from the model hub or from a folder.

    Only its configuration, its safetensors weights and its texts are taken, and they are checked
    against the base model. It is not in use before `adapter use`.

    Exit codes: 0 added, 1 it cannot be used, 2 usage, 4 download failed, 130 interrupted.
    """
    import threading

    cancel = threading.Event()
    with (
        diagnostics.progress(f"Adding {source}", unit="bytes") as bar,
        interrupt.first_calls(cancel.set),
    ):
        added = _add(
            ctx,
            source,
            name=name,
            base=base,
            revision=revision,
            subfolder=subfolder,
            on_progress=bar.update,
            cancel=cancel,
        )
    paths, active = _now(ctx)
    if use:
        active = choosing.use(paths, _profile(ctx), added.name)
    if options.current(ctx).json:
        output.emit_record({"adapter": display.row(added, active)})
        return ExitCode.OK
    output.write(f"Added: {added.name}, {display.megabytes(added.size)}, for {added.base}.")
    display.say_community(added)
    if not use:
        display.say_next(added, active)
    return ExitCode.OK


@app.command()
def info(ctx: typer.Context, name: _Name) -> int:
    """Show what is known of an adapter, on this machine or in the list of public ones."""
    from medqa_tui.models import adapters
    from medqa_tui.models.adapter_catalog import public_adapters

    paths, active = _now(ctx)
    known = {each.id: each for each in public_adapters()}
    try:
        found = adapters.get(paths, name)
    except UsageError:
        if name not in known:
            raise
        if options.current(ctx).json:
            output.emit_record({"adapter": display.public_row(known[name])})
        else:
            display.show_public(known[name])
        return ExitCode.OK
    problems = _problems(paths, found, active)
    if options.current(ctx).json:
        output.emit_record({"adapter": display.row(found, active), "problems": problems})
        return ExitCode.OK
    output.facts(display.facts(found, active, problems), 12)
    output.facts((("Compared", line) for line in display.comparisons(paths, found)), 12)
    display.say_community(found)
    return ExitCode.OK


app.command("compare")(adapter_compare.command)


@app.command()
def use(
    ctx: typer.Context,
    name: _Name,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even if `adapter compare` found it worse.", show_default=False
        ),
    ] = False,
) -> int:
    """Answer with the adapter NAME from now on, or without one: `none`.

    A running engine changes over at once and keeps the base model loaded. One that `adapter
    compare` found to be worse in safety or in declining, than what is in use or than no adapter,
    is not put in use without --force.

    Exit codes: 0 in use, 1 it was found to be worse, 2 there is none of that name or it does not
    fit, 3 not set up.
    """
    from medqa_tui.models import adapters
    from medqa_tui.paths import get_paths

    wanted = None if name == adapters.NONE else name
    active = choosing.use(get_paths(), _profile(ctx), wanted, force=force)
    if options.current(ctx).json:
        record = {
            "profile": active.profile,
            "base": active.base,
            "adapter": active.adapter,
            "reranker": active.reranker,
        }
        output.emit_record(record)
        return ExitCode.OK
    if wanted is None:
        diagnostics.note(f"The profile {active.profile} answers without an adapter.")
        return ExitCode.OK
    found = adapters.get(get_paths(), wanted)
    verb = "orders what it finds" if found.reranks else "answers"
    diagnostics.note(f"The profile {active.profile} {verb} with {found.name}.")
    if not found.reranks:
        _say_quoting(ctx, active)
    display.say_community(found)
    return ExitCode.OK


def _say_quoting(ctx: typer.Context, active: Active) -> None:
    """Say so where no model writes, whatever adapter is in use, and what changes that."""
    from medqa_tui.config import load_settings
    from medqa_tui.engine.installed import is_quoting

    settings = load_settings({**options.current(ctx).overrides(), "profile": active.profile})
    if not is_quoting(settings, active):
        return
    if settings.answer.generator == "auto":
        diagnostics.note(
            "With its own adapter this profile quotes the evidence, which was measured to be "
            "better than what its model writes. To have the model write: "
            "medqa-tui config set answer.generator model"
        )
    else:
        diagnostics.note(
            "The evidence is quoted all the same, since answer.generator is extractive. To have "
            "the model write: medqa-tui config set answer.generator auto"
        )


@app.command()
def remove(
    ctx: typer.Context,
    name: _Name,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even if it is in use; answers go without it.", show_default=False
        ),
    ] = False,
) -> int:
    """Delete an added adapter from this machine.

    Exit codes: 0 deleted, 1 not wanted after all, 2 there is none, or it is in use.
    """
    from medqa_tui.models import adapters
    from medqa_tui.paths import get_paths

    paths = get_paths()
    found = adapters.get(paths, name)
    users = adapters.in_use(paths, found.name)
    if users and not force and terminal.is_terminal(sys.stdin) and not options.current(ctx).json:
        said = output.read_line(
            f"{found.name} is in use by {', '.join(users)}. Delete it and answer without it? [y/N] "
        )
        if said.strip().casefold() not in {"y", "yes"}:
            diagnostics.note("Nothing was deleted.")
            return ExitCode.FAILURE
        force = True
    if users and force:
        # The engine lets go of the files before they go.
        for profile in users:
            if adapters.answers_with(paths, profile) == found.name:
                choosing.use(paths, profile, None)
    with adapters.lock(paths):
        freed = adapters.remove(paths, found.name, force=force)
    if options.current(ctx).json:
        output.emit_record({"removed": found.name, "freed_bytes": freed})
    else:
        diagnostics.note(f"Deleted {found.name}: {display.megabytes(freed)} are free.")
    return ExitCode.OK


# -- what the commands share -------------------------------------------------------------------


def _profile(ctx: typer.Context) -> str | None:
    from medqa_tui.config import load_settings

    return load_settings(options.current(ctx).overrides()).profile


def _now(ctx: typer.Context) -> tuple[Paths, Active | None]:
    """Return the folders and what the profile asked for answers with, if it is installed."""
    from medqa_tui.models.active import load_active
    from medqa_tui.paths import get_paths

    paths = get_paths()
    try:
        active = load_active(paths, _profile(ctx))
    except MedQAError as error:
        diagnostics.warn(str(error))
        active = None
    return paths, active


def _add(ctx: typer.Context, source: str, *, revision: str, subfolder: str, **rest: Any) -> Any:
    from pathlib import Path

    from medqa_tui.config import load_settings
    from medqa_tui.models import adapter_install
    from medqa_tui.models.files import Cancelled
    from medqa_tui.paths import get_paths

    from_hub = not adapter_install.is_folder(source)
    if from_hub and load_settings(options.current(ctx).overrides()).offline:
        raise UsageError(
            "This adapter has to be downloaded, and the program is offline.",
            f"{source}.",
            "Leave --offline away, or give a folder.",
        )
    try:
        if from_hub:
            return adapter_install.download(
                get_paths(), source, revision=revision, subfolder=subfolder, **rest
            )
        return adapter_install.add_folder(get_paths(), Path(source), **rest)
    except Cancelled as error:
        raise Cancelled(
            "Adding the adapter was interrupted.",
            "Nothing half-made is in use.",
            f"medqa-tui adapter download {source}",
        ) from error


def _ask_hub(ctx: typer.Context, words: tuple[str, ...], base: str | None) -> list[FoundAdapter]:
    from medqa_tui.config import load_settings
    from medqa_tui.models.hub_search import search_hub

    if load_settings(options.current(ctx).overrides()).offline:
        raise UsageError(
            "The hub cannot be asked while the program is offline.",
            "--hub needs the network.",
            "medqa-tui adapter search (without --hub)",
        )
    with diagnostics.StatusLine("Asking the model hub"):
        return search_hub(words, base)


def _problems(paths: Paths, found: InstalledAdapter, active: Active | None) -> list[str]:
    from medqa_tui.models import adapters

    if active is None or found.problem or display.fits(found, active) is False:
        return [found.problem] if found.problem else []
    return adapters.unfit(paths, found, active)
