"""`medqa-tui doctor`: check the installation and say how to fix it."""

from __future__ import annotations

import sys
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import asking, diagnostics, interrupt, options, output, terminal
from medqa_tui.cli.files import require_free, write_private
from medqa_tui.doctor.report import Check, CheckStatus, fail, ok
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.doctor.deep import Damage, OnProgress
    from medqa_tui.doctor.repair import Repair
    from medqa_tui.paths import Paths

_MARKS = {
    "ok": ("✓", "ok", "green"),
    "warn": ("!", "warning", "yellow"),
    "fail": ("✗", "FAIL", "red"),
}

_MARK_WIDTH, _NAME_WIDTH = 10, 14


def command(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where --report writes to; without it, stdout."),
    ] = None,
    *,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read everything installed to its last byte."),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair without asking; with --deep.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write a text for others, without any question in it."),
    ] = False,
) -> int:
    """Check the installation and say how to fix it.

    Nothing is changed and nothing is fetched, but by --repair. Exit codes: 0 nothing failed, or
    the report is written; 1 something failed, or stays broken after a repair; 130 interrupted.
    """
    from medqa_tui.doctor import checks
    from medqa_tui.paths import get_paths

    if file is not None and not report:
        raise UsageError("A file is only written with --report.", f"{file}.", "medqa-tui doctor -h")
    if file is not None:
        require_free(file)
    chosen = options.current(ctx)
    paths, (settings, found) = get_paths(), _settings(chosen.overrides())
    cancel = threading.Event()
    with diagnostics.StatusLine() as line, interrupt.first_calls(cancel.set):
        found += checks.run(paths, settings, partial(_say, line, cancel))
        damages: list[Damage] = []
        if deep or repair:
            found, damages = _look_deep(paths, found, line, cancel)
    if report:
        return _report(paths, found, chosen, file)
    if not chosen.json:
        _print_all(found)
    repairs: list[Repair] = []
    if damages and (repair or _agreed(chosen)):
        with diagnostics.StatusLine() as line, interrupt.first_calls(cancel.set):
            repairs = _repair(paths, settings, damages, line, cancel)
            found, _ = _look_deep(paths, _unbroken(found, damages), line, cancel)
        if not chosen.json:
            _tell_of(paths, repairs, found)
    return _end(found, repairs, json=chosen.json)


def _say(line: diagnostics.StatusLine, cancel: threading.Event, message: str) -> None:
    if cancel.is_set():
        from medqa_tui.models.files import Cancelled

        raise Cancelled("The check was interrupted.", "Nothing was changed.", "medqa-tui doctor")
    line.show(message)


def _look_deep(
    paths: Paths, found: list[Check], line: diagnostics.StatusLine, cancel: threading.Event
) -> tuple[list[Check], list[Damage]]:
    from medqa_tui.doctor import checks
    from medqa_tui.doctor.deep import as_checks, inspect

    damages, told = inspect(paths, _shown_on(line), cancel)
    return checks.merge(found, as_checks(damages, told)), damages


def _unbroken(found: list[Check], damages: list[Damage]) -> list[Check]:
    """Return the checks without those that a repair may have made out of date."""
    repaired = {damage.part.value for damage in damages}
    return [check for check in found if check.name not in repaired]


def _repair(
    paths: Paths,
    settings: Settings,
    damages: list[Damage],
    line: diagnostics.StatusLine,
    cancel: threading.Event,
) -> list[Repair]:
    from medqa_tui.doctor.repair import repair

    return repair(damages, paths, settings, _shown_on(line), cancel)


def _shown_on(line: diagnostics.StatusLine) -> OnProgress:
    def show(message: str, done: int | None, total: int | None) -> None:
        fraction = done / total if done is not None and total else None
        line.show(message, fraction, diagnostics.amount(done, total, "bytes") if total else "")

    return show


def _agreed(chosen: options.Options) -> bool:
    """Ask, where somebody can answer, whether to repair."""
    if chosen.json or not (terminal.is_terminal(sys.stdin) and terminal.is_terminal(sys.stderr)):
        return False
    return asking.agrees("Repair what can be repaired?", by_default=True)


def _report(paths: Paths, found: list[Check], chosen: options.Options, file: Path | None) -> int:
    from medqa_tui.doctor.sharing import compose

    text = compose(paths, found, chosen.overrides())
    if file is not None:
        write_private(file, text)
        diagnostics.note(f"Written to {file}. It holds no question and no answer; look it over.")
    elif chosen.json:
        output.emit_record({"report": text})
    else:
        output.write(text, end="")
    return ExitCode.OK


def _tell_of(paths: Paths, repairs: list[Repair], found: list[Check]) -> None:
    output.write()
    for each in repairs:
        status = CheckStatus.OK if each.ok else CheckStatus.FAIL
        part = each.part.value
        name = part if each.name == part else f"{part} {each.name} "
        _print(Check(name, status, each.done, each.fix))
    left = [check for check in found if check.status is not CheckStatus.OK]
    if left:
        output.write()
        _print_all(left)
    if any(each.ok and each.part.value not in ("history", "leftovers") for each in repairs):
        from medqa_tui.engine.connect import status as engine_status

        if engine_status(paths) is not None:
            diagnostics.note("The engine has loaded what was there before: medqa-tui engine stop")


def _end(found: list[Check], repairs: list[Repair], *, json: bool) -> int:
    failed = sum(check.status is CheckStatus.FAIL for check in found)
    if json:
        rows = [
            {"name": c.name, "status": c.status.value, "detail": c.detail, "fix": c.fix}
            for c in found
        ]
        done = [{**asdict(each), "part": each.part.value} for each in repairs]
        record = {"ok": not failed, "checks": rows}
        output.emit_record({**record, "repairs": done} if repairs else record)
    else:
        diagnostics.note(_verdict(failed))
    return ExitCode.FAILURE if failed else ExitCode.OK


def _settings(overrides: dict[str, object]) -> tuple[Settings, list[Check]]:
    """Return the settings, or the defaults and what is wrong with the settings."""
    from medqa_tui.config import Settings, load_settings
    from medqa_tui.paths import get_paths

    try:
        settings = load_settings(overrides)
    except UsageError as error:
        detail = f"{error.title} {error.detail} The defaults are used for what follows."
        return Settings(), [fail("settings", detail, error.hint)]
    path = get_paths().config_file
    where = path if path.exists() else f"{path} (not there, so defaults count)"
    return settings, [ok("settings", f"Profile {settings.profile}. File: {where}.")]


def _print_all(found: list[Check]) -> None:
    for check in found:
        _print(check)


def _print(check: Check) -> None:
    import textwrap

    mark, word, style = _MARKS[check.status.value]
    head = f"{mark} {word}" if terminal.can_show_unicode(sys.stdout) else word
    output.write(f"{head:{_MARK_WIDTH}}", style=style, end="")
    output.write(f"{check.name:{_NAME_WIDTH}}", style="bold", end="")
    margin = " " * (_MARK_WIDTH + _NAME_WIDTH)
    width = max(40, terminal.width(sys.stdout) - len(margin))
    lines = textwrap.wrap(check.detail, width, break_long_words=False, break_on_hyphens=False)
    output.write(f"\n{margin}".join(lines))
    if check.fix:
        # Never broken: it is there to be copied.
        output.write(f"{margin}Fix: {check.fix}")


def _verdict(failed: int) -> str:
    if not failed:
        return "Nothing is broken."
    return f"{failed} {'thing' if failed == 1 else 'things'} to fix, the first one first."
