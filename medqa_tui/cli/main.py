"""The entry of the command line: commands loaded when chosen, errors turned into exit codes."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.cli.groups import Group
from medqa_tui.cli.options import Options
from medqa_tui.errors import ExitCode, MedQAError, UsageError

PROGRAM = "medqa-tui"

# Where typer keeps its own copy of click, click's names are not public: take them by ancestry.
_CliError: Any = typer.BadParameter.__mro__[2]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command: where it lives, and the line that describes it without importing it."""

    module: str
    help: str
    engine: bool = False


_COMMANDS = {
    "ask": _Entry("ask", "Answer a medical question from cited evidence.", engine=True),
    "search": _Entry("search", "Show the evidence for a question, without an answer.", engine=True),
    "setup": _Entry("setup", "Install the models, the starter corpus and the index."),
    "adapter": _Entry("adapter", "List, find, add, choose and remove LoRA adapters."),
    "model": _Entry("model", "List, choose, export and remove the profiles' models."),
    "history": _Entry("history", "Find, keep, export or delete earlier answers."),
    "corpus": _Entry("corpus", "Add, update or look at what the answers can come from."),
    "eval": _Entry("eval", "Measure how good the search is, with intervals.", engine=True),
    "index": _Entry("index", "Build, describe or verify the search index."),
    "engine": _Entry("engine", "Start, stop or look at the process that holds the models."),
    "config": _Entry("config", "Show or change settings."),
    "train": _Entry("train", "Train an adapter from questions and answers."),
    "doctor": _Entry("doctor", "Check the installation and say how to fix it."),
    "completion": _Entry("completion", "Print a script for completion in bash, zsh or fish."),
}


class LazyGroup(Group):
    """A group that imports the module of a command when that command is chosen."""

    _names_only = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _COMMANDS.get(cmd_name)
        if entry is not None and self._names_only:
            return TyperCommand(cmd_name, help=entry.help)
        return None if entry is None else _load(cmd_name, entry)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        # The names and their lines are known here, without importing what is behind them.
        self._names_only = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._names_only = False

    def hint(self, ctx: Any, args: list[str]) -> str:
        near = super().hint(ctx, args)
        if near.endswith("--help") and (" " in args[0].strip() or len(args) > 1):
            # Someone typed the question where the command goes.
            return f'{PROGRAM} ask "{" ".join(args)}"'
        return near

    def lines(self, ctx: Any) -> list[tuple[str, str]]:
        return [(name, entry.help) for name, entry in _COMMANDS.items()]


def _load(name: str, entry: _Entry) -> Any:
    module = import_module(f"medqa_tui.cli.{entry.module}")
    app: typer.Typer | None = getattr(module, "app", None)
    if app is None:
        app = options.new_app(entry.help)
        app.command(name)(module.command)
    command = typer.main.get_command(app)
    command.name = name
    options.attach(command, engine=entry.engine)
    return command


def _version(value: bool) -> None:
    if value:
        from medqa_tui import __version__

        output.write(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _build(open_app: Callable[..., int]) -> Any:
    app = options.new_app(
        "Answer medical questions on your own machine, from cited evidence.\n\n"
        "Without a command it opens the full-screen app. For education only: not medical advice."
    )

    @app.callback(cls=LazyGroup, invoke_without_command=True, no_args_is_help=False)
    def main(
        ctx: typer.Context,
        version: Annotated[
            bool,
            typer.Option(
                "--version",
                callback=_version,
                is_eager=True,
                show_default=False,
                help="Show the version and exit.",
            ),
        ] = False,
    ) -> None:
        if ctx.invoked_subcommand is None:
            raise typer.Exit(_open(ctx, open_app))

    command = typer.main.get_command(app)
    command.params.extend(options.declared())
    return command


def _open(ctx: typer.Context, open_app: Callable[..., int]) -> int:
    chosen = options.current(ctx)
    if not (terminal.is_terminal(sys.stdin) and terminal.is_terminal(sys.stdout)):
        diagnostics.raw(ctx.get_help())
        return ExitCode.USAGE
    if os.environ.get("TERM") == "dumb" or chosen.plain or chosen.json:
        raise UsageError(
            "The full-screen app cannot be drawn here.",
            "It needs a terminal that moves the cursor, without --plain or --json.",
            f"{PROGRAM} ask",
        )
    return open_app(profile=chosen.profile, in_process=chosen.no_engine)


def run(open_app: Callable[..., int]) -> None:
    """Run the command line of this process and exit.

    Args:
        open_app: Opens the full-screen app; called with `profile` and `in_process`, returns the
            exit code. It imports what it needs itself.
    """
    if not sys.warnoptions:
        # What a library warns its programmers of is noise to a person at a terminal.
        warnings.simplefilter("ignore")
    if sys.stdin is None:  # closed by whoever started the program: it has no more to say
        sys.stdin = terminal.sink(0)
    output.prepare()
    diagnostics.prepare()
    code = _complete(open_app) if _asks_for_words() else _run(sys.argv[1:], open_app)
    try:
        output.finish()
    except MedQAError as error:
        diagnostics.report(error)
        code = code or error.exit_code
    sys.exit(code)


def _asks_for_words() -> bool:
    """Say whether a shell runs the program to learn what could be typed next."""
    return bool(os.environ.get("_MEDQA_TUI_COMPLETE"))


def _complete(open_app: Callable[..., int]) -> int:
    from medqa_tui.cli import completion

    return completion.answer(_build(open_app))


def _run(arguments: list[str], open_app: Callable[..., int]) -> int:
    root = Options(json="--json" in arguments[: _end_of_options(arguments)])
    try:
        command = _build(open_app)
        with command.make_context(PROGRAM, list(arguments), obj=Options()) as ctx:
            result = command.invoke(ctx)
            return result if isinstance(result, int) else ExitCode.OK
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        diagnostics.note("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has what it wanted.
        return ExitCode.FAILURE
    except MedQAError as error:
        return _show(error, root)
    except _CliError as error:
        return _show(_usage(error), root)
    except Exception as error:
        from medqa_tui.cli.crash import describe

        return _show(describe(error), root)


def _end_of_options(arguments: list[str]) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


def _show(error: MedQAError, options: Options) -> int:
    if options.json:
        record = {
            "title": error.title,
            "detail": error.detail,
            "hint": error.hint,
            "exit_code": int(error.exit_code),
        }
        # Where nothing can be written any more, stderr and the exit code still tell.
        with contextlib.suppress(BrokenPipeError, MedQAError):
            output.emit_record({"error": record})
    diagnostics.report(error)
    return error.exit_code


def _usage(error: Any) -> UsageError:
    """Return typer's own error in the words of this program, with the nearest option."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else PROGRAM
    wrong = getattr(error, "option_name", None)
    if wrong is not None and ctx is not None and type(error).__name__ == "NoSuchOption":
        known = [name for param in ctx.command.params for name in param.opts]
        # Without the dashes, which make any two alike.
        bare = {name.lstrip("-"): name for name in known}
        near = difflib.get_close_matches(wrong.lstrip("-"), bare, n=1)
        hint = f"{path} {bare[near[0]] if near else '--help'}"
        return UsageError("There is no such option:", f"{wrong}.", hint)
    # What a group says when it is called bare is its help already.
    hint = "" if type(error).__name__ == "NoArgsIsHelpError" else f"{path} --help"
    return UsageError(error.format_message(), "", hint)
