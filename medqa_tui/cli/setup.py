"""`medqa-tui setup`: what would be fetched, then fetching it, with progress."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import asking, diagnostics, interrupt, options, output, terminal
from medqa_tui.errors import ExitCode

if TYPE_CHECKING:
    from medqa_tui.models.catalog import Component
    from medqa_tui.paths import Paths
    from medqa_tui.setup.events import SetupEvent, SetupOptions, SetupReport
    from medqa_tui.setup.plan import SetupPlan


def command(
    ctx: typer.Context,
    *,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="ID",
            help="Which of the profile's base models, such as google/flan-t5-large.",
            show_default=False,
        ),
    ] = "",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Take everything from a folder that `model export` made; no network.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say what would be fetched and done.", show_default=False
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before fetching.", show_default=False)
    ] = False,
) -> int:
    """Install the models, the starter corpus and the index.

    What is there already is kept; an interrupted setup goes on where it stopped. With
    `--profile NAME` that profile answers from now on; `--profile auto` takes the one that fits
    this machine.

    Exit codes: 0 ready, 1 failure, 2 usage, 3 something has to be fetched and --offline forbids
    it, 4 download failed, 130 interrupted.
    """
    from medqa_tui.cli.setup_choice import choose
    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.events import SetupOptions

    chosen = options.current(ctx)
    settings = load_settings(chosen.overrides())
    wanted = SetupOptions(
        settings.profile, settings.offline, yes=yes, dry_run=dry_run, base=base, source=source
    )
    picked = choose(wanted, chosen, settings, get_paths())
    return _run(picked.options, get_paths(), settings, chosen.json, keep=picked.keep)


def _run(wanted: SetupOptions, paths: Paths, settings: Any, as_json: bool, *, keep: bool) -> int:
    import threading

    from medqa_tui.cli.setup_choice import confirm_remote
    from medqa_tui.cli.setup_display import SetupDisplay
    from medqa_tui.setup.plan import make_plan
    from medqa_tui.setup.runner import find_profile, run_setup

    if wanted.dry_run:
        report = run_setup(wanted, paths, settings)
        _end(report, dry_run=True, as_json=as_json)
        return ExitCode.OK
    if wanted.source is None:
        profile = find_profile(wanted.profile, paths, wanted.base)
        if profile.is_remote:
            settings = confirm_remote(wanted, settings)
            if settings is None:
                diagnostics.note("Nothing was changed.")
                return ExitCode.FAILURE
        plan = make_plan(profile, paths)
        if not as_json and not _agreed(plan, wanted):
            diagnostics.note("Nothing was changed.")
            return ExitCode.FAILURE
    cancel = threading.Event()
    with SetupDisplay() as display, interrupt.first_calls(cancel.set):

        def on_event(event: SetupEvent) -> None:
            if as_json:
                output.emit_record({"type": "setup", **asdict(event)})
            else:
                display.show(event)

        report = run_setup(wanted, paths, settings, on_event, cancel)
    if keep:
        _keep(report)
    _end(report, dry_run=False, as_json=as_json)
    return ExitCode.OK


def _keep(report: SetupReport) -> None:
    """Let the profile that was asked for answer from now on."""
    from medqa_tui.config import load_settings, write
    from medqa_tui.models.active import set_current
    from medqa_tui.paths import get_paths

    name = report.plan.profile.name
    set_current(get_paths(), name)
    if load_settings().profile != name:
        write.set_value("profile", name)
        diagnostics.note(f"From now on {name} answers; `--profile NAME` chooses another.")


def _agreed(plan: SetupPlan, wanted: SetupOptions) -> bool:
    """Show what will be fetched and, on a terminal, ask whether it may be."""
    if not plan.fetch or wanted.offline:
        return True
    for line in _fetches(plan):
        diagnostics.note(line)
    if wanted.yes or not terminal.is_terminal(sys.stdin):
        return True
    size = amount(plan.download_bytes)
    return asking.agrees(f"Download {size} and set up {plan.profile.name}?", by_default=True)


def amount(size: int) -> str:
    """Return a size in MB, or in GB where that is shorter."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _fetches(plan: SetupPlan) -> list[str]:
    from medqa_tui.models.catalog import HubSource, Slot, WheelSource

    lines = []
    for kind, place in ((WheelSource, "the package index"), (HubSource, "the model hub")):
        components = [each for each in plan.fetch if isinstance(each.source, kind)]
        if components:
            lines.append(f"{plan.profile.title}. To be downloaded from {place}:")
        for component in components:
            source = component.source
            where = source.requirement if isinstance(source, WheelSource) else component.id
            size = amount(source.size)
            lines.append(f"  {component.title}, {size}, licence {component.licence}")
            lines.append(f"    from {where}; {component.licence_url}")
            if component.slot is Slot.ADAPTER:
                lines.append("    A community adapter: nobody here has measured its answers.")
            if isinstance(source, HubSource) and source.gated:
                lines.append(f"    Open {component.licence_url} and accept its licence first,")
                lines.append("    then log in here with: hf auth login")
    return lines


def _end(report: SetupReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.emit_record(_record(report, dry_run))
    elif dry_run:
        for line in _outlook(report):
            output.write(line)
    elif report.changed:
        for warning in report.warnings:
            diagnostics.warn(warning)
        output.write(f"Ready: {report.plan.profile.title}.")
        output.write('Try: medqa-tui ask "What are the symptoms of type 2 diabetes?"')
    else:
        output.write(f"Already set up: {report.plan.profile.title}. Nothing to do.")


def _outlook(report: SetupReport) -> list[str]:
    """Return what a dry run says."""
    plan = report.plan
    if plan.is_empty:
        return [f"Already set up: {plan.profile.title}. Nothing would be done."]
    lines = _fetches(plan) if plan.fetch else [f"{plan.profile.title}. Nothing to download."]
    room = plan.data_bytes + plan.cache_bytes
    lines.append(f"Download: {amount(plan.download_bytes)}. Room needed: {amount(room)}.")
    lines.append(f"Phases: {', '.join(plan.phases)}.")
    return [*lines, *report.findings, "Nothing was changed."]


def _record(report: SetupReport, dry_run: bool) -> dict[str, Any]:
    plan = report.plan
    return {
        "type": "setup_done",
        "profile": plan.profile.name,
        "dry_run": dry_run,
        "changed": report.changed,
        "ready": report.ready,
        "phases": list(plan.phases),
        "downloads": [_download(component) for component in plan.fetch],
        "download_bytes": plan.download_bytes,
        "room_bytes": plan.data_bytes + plan.cache_bytes,
        "findings": list(report.findings),
        "warnings": list(report.warnings),
    }


def _download(component: Component) -> dict[str, Any]:
    from medqa_tui.models.catalog import HubSource, WheelSource

    source = component.source
    row: dict[str, Any] = {
        "name": component.name,
        "id": component.id,
        "slot": component.slot.value,
        "bytes": source.size,
        "licence": component.licence,
        "licence_url": component.licence_url,
    }
    if isinstance(source, WheelSource):
        package = {"package": source.package, "version": source.version, "sha256": source.sha256}
        return {**row, "from": "package index", **package}
    gated = isinstance(source, HubSource) and source.gated
    where = {"repo": component.id, "revision": component.revision, "gated": gated}
    return {**row, "from": "model hub", **where}
