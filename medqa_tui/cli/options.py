"""The options that every command takes, declared once, before or after the command's name."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any

import typer

from medqa_tui.cli import completing, diagnostics, output, terminal
from medqa_tui.cli.groups import Group

# Help is an option like the others below: what stdout cannot take is then said in words.
CONTEXT_SETTINGS = {"help_option_names": [], "max_content_width": 100}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line; None and False leave it to the settings."""

    profile: str | None = None
    offline: bool = False
    json: bool = False
    plain: bool = False
    verbose: int = 0
    quiet: bool = False
    no_engine: bool = False

    def overrides(self) -> dict[str, object]:
        """Return the settings that these flags override, by dotted key."""
        found: dict[str, object] = {}
        if self.profile is not None:
            found["profile"] = self.profile
        if self.offline:
            found["offline"] = True
        return found


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants of a conversation, beyond the global options.

    Attributes:
        k: How many passages an answer may use; None leaves it to the settings.
        save: Whether the history may keep it.
        setup: Whether a missing profile may be installed.
        resume: Whether it goes on from the latest conversation of the history.
        evidence: Whether answers are written from evidence, unless the profile has it otherwise.
        corpora: The corpora that answers may come from; empty leaves it to the settings.
    """

    k: int | None = None
    save: bool = True
    setup: bool = True
    resume: bool = False
    evidence: bool = True
    corpora: tuple[str, ...] = ()


def current(ctx: typer.Context) -> Options:
    """Return the options in force for the command of `ctx`."""
    return ctx.obj if isinstance(ctx.obj, Options) else Options()


def new_app(help: str) -> typer.Typer:
    """Return a command group that looks and behaves like the program's others."""
    return typer.Typer(
        cls=Group,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings=dict(CONTEXT_SETTINGS),
    )


def attach(command: Any, *, engine: bool = False) -> None:
    """Add the global options to `command` and to everything below it, unless it has its own.

    Args:
        command: What `typer.main.get_command` returns.
        engine: Whether `--no-engine` means something to it.
    """
    taken = {name for param in command.params for name in param.opts}
    for param in declared():
        if taken.isdisjoint(param.opts) and (engine or param.name != "no_engine"):
            command.params.append(param)
    for below in getattr(command, "commands", {}).values():
        attach(below, engine=engine)


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    # Not given here: what was said before the command's name stays.
    if not value or param.name is None:
        return
    options = replace(current(ctx), **{param.name: value})
    at: Any = ctx
    while at is not None:
        at.obj = options
        at = at.parent
    terminal.set_plain(options.plain)
    diagnostics.configure(verbose=options.verbose, quiet=options.quiet)


def _help(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        output.write(ctx.get_help())
        raise typer.Exit


def _option(*names: str, help: str, **extra: Any) -> Any:
    return typer.Option(
        *names, help=help, callback=_remember, expose_value=False, show_default=False, **extra
    )


@cache
def declared() -> tuple[Any, ...]:
    """Return the parameters, as typer makes them of a function that is never called."""

    def declare(
        *,
        profile: Annotated[
            str | None,
            _option(
                "--profile",
                metavar="NAME",
                help="Which models answer.",
                autocompletion=completing.profiles,
            ),
        ] = None,
        offline: Annotated[
            bool, _option("--offline", help="Never open a network connection.")
        ] = False,
        no_engine: Annotated[
            bool, _option("--no-engine", help="Load the models in this process.")
        ] = False,
        json: Annotated[bool, _option("--json", help="Write JSON on stdout.")] = False,
        plain: Annotated[
            bool, _option("--plain", help="No colour, no motion, ASCII symbols.")
        ] = False,
        verbose: Annotated[
            int, _option("-v", "--verbose", count=True, help="Say more on stderr; -vv even more.")
        ] = 0,
        quiet: Annotated[bool, _option("-q", "--quiet", help="Say only errors on stderr.")] = False,
        help: Annotated[
            bool,
            typer.Option(
                *("-h", "--help"),
                is_eager=True,
                expose_value=False,
                callback=_help,
                show_default=False,
                help="Show this message and exit.",
            ),
        ] = False,
    ) -> None: ...

    app = new_app("")
    app.command()(declare)
    names = {"help", *(field.name for field in fields(Options))}
    return tuple(param for param in typer.main.get_command(app).params if param.name in names)
