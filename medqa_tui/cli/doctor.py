"""`medqa-tui doctor`: check the installation and say how to fix it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.doctor.report import Check

_MARKS = {
    "ok": ("✓", "ok", "green"),
    "warn": ("!", "warning", "yellow"),
    "fail": ("✗", "FAIL", "red"),
}

_MARK_WIDTH, _NAME_WIDTH = 10, 14


def command(
    ctx: typer.Context,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Hash every installed file.", show_default=False)
    ] = False,
) -> int:
    """Check the installation and say how to fix it.

    Nothing is changed and nothing is fetched. Exit codes: 0 nothing failed, 1 something did.
    """
    from medqa_tui.doctor import checks
    from medqa_tui.paths import get_paths

    chosen = options.current(ctx)
    settings, found = _settings(chosen.overrides())
    with diagnostics.StatusLine() as line:
        found += checks.run(get_paths(), settings, deep, line.show)
    failed = sum(check.status is checks.CheckStatus.FAIL for check in found)
    if chosen.json:
        from medqa_tui.contract import SCHEMA_VERSION

        rows = [
            {"name": c.name, "status": c.status.value, "detail": c.detail, "fix": c.fix}
            for c in found
        ]
        output.emit_json({"schema_version": SCHEMA_VERSION, "ok": not failed, "checks": rows})
    else:
        for check in found:
            _print(check)
        diagnostics.note(_verdict(failed))
    return ExitCode.FAILURE if failed else ExitCode.OK


def _settings(overrides: dict[str, object]) -> tuple[Settings, list[Check]]:
    """Return the settings, or the defaults and what is wrong with the settings."""
    from medqa_tui.config import Settings, load_settings
    from medqa_tui.doctor.report import fail, ok
    from medqa_tui.paths import get_paths

    try:
        settings = load_settings(overrides)
    except UsageError as error:
        detail = f"{error.title} {error.detail} The defaults are used for what follows."
        return Settings(), [fail("settings", detail, error.hint)]
    path = get_paths().config_file
    where = path if path.exists() else f"{path} (not there, so defaults count)"
    return settings, [ok("settings", f"Profile {settings.profile}. File: {where}.")]


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
