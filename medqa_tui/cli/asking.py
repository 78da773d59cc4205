"""Questions on the terminal that want a yes or a no."""

from __future__ import annotations

import sys

import typer

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.errors import ExitCode, UsageError


def agrees(question: str, *, by_default: bool) -> bool:
    """Ask, and return whether the answer is yes; an empty line is the default, Ctrl-D is a no."""
    try:
        said = output.read_line(f"{question} [{'Y/n' if by_default else 'y/N'}] ")
    except EOFError:
        return False
    said = said.strip().casefold()
    return said in {"y", "yes"} or (by_default and not said)


def before_deleting(ctx: typer.Context, question: str, *, yes: bool, again: str) -> None:
    """Return if the user wants it deleted.

    Args:
        yes: Whether they said so on the command line.
        again: The command that says so.

    Raises:
        UsageError: Nobody can be asked.
        typer.Exit: They do not want it.
    """
    if yes:
        return
    if options.current(ctx).json or not terminal.is_terminal(sys.stdin):
        raise UsageError("This deletes for good and needs a yes.", "Nothing was deleted.", again)
    if not agrees(question, by_default=False):
        diagnostics.note("Nothing was deleted.")
        raise typer.Exit(ExitCode.FAILURE)
