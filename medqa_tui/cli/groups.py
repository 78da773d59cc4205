"""Commands below a command, and the nearest of them when none has the name that was typed."""

from __future__ import annotations

import difflib
from typing import Any

from typer.core import TyperGroup

from medqa_tui.errors import UsageError

# Letters, of which no sentence has so many.
_WHOLE_SENTENCE = 1000


class Group(TyperGroup):
    """A command with commands below it."""

    def lines(self, ctx: Any) -> list[tuple[str, str]]:
        """Return each command's name, and its first sentence in full."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [
            (name, command.get_short_help_str(_WHOLE_SENTENCE))
            for name, command in commands
            if command is not None and not command.hidden
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.lines(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            raise UsageError("There is no such command:", f"{name}.", self.hint(ctx, args))
        return super().resolve_command(ctx, args)

    def hint(self, ctx: Any, args: list[str]) -> str:
        """Return what to type instead of `args`, whose first is no command."""
        near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
        return f"{ctx.command_path} {near[0] if near else '--help'}"
