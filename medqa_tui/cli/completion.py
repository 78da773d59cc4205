"""`medqa-tui completion`: a script that lets a shell complete commands, options and names."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.errors import ExitCode, UsageError

VARIABLE = "_MEDQA_TUI_COMPLETE"
"""The shell sets it, to `complete_bash` for example, and runs the program for the words."""

_PROGRAM = "medqa-tui"
_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/medqa-tui",
    "zsh": "a folder of $fpath, as _medqa-tui",
    "fish": "~/.config/fish/completions/medqa-tui.fish",
}


def _shells(incomplete: str) -> list[str]:
    return [name for name in _PLACES if name.startswith(incomplete)]


def command(
    ctx: typer.Context,
    shell: Annotated[
        str,
        typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=_shells),
    ],
) -> int:
    """Print a script that completes commands, options, profiles and adapters in a shell.

    For this session: eval "$(medqa-tui completion bash)", or: medqa-tui completion fish | source
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell not in _PLACES:
        known = ", ".join(_PLACES)
        raise UsageError("There is no completion for this shell:", f"{shell}.", f"One of: {known}.")
    script = get_completion_script(prog_name=_PROGRAM, complete_var=VARIABLE, shell=shell)
    if options.current(ctx).json:
        output.emit_record({"shell": shell, "script": script})
        return ExitCode.OK
    output.write(script)
    diagnostics.detail(f"To keep it, write this to {_PLACES[shell]}.")
    return ExitCode.OK


def answer(group: Any) -> int:
    """Print the words that the shell asks for, and return the exit code; never says anything else.

    Args:
        group: The program's commands.
    """
    from typer.completion import completion_init, shell_complete  # type: ignore[attr-defined]

    completion_init()
    instruction = os.environ[VARIABLE]
    try:
        return int(shell_complete(group, {}, _PROGRAM, VARIABLE, instruction))
    except Exception:
        # Words that cannot be told are no reason to disturb what somebody is typing.
        return ExitCode.FAILURE
