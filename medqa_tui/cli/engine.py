"""`medqa-tui engine`: start, stop or look at the process that holds the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.errors import ExitCode, UsageError
from medqa_tui.paths import get_paths

if TYPE_CHECKING:
    from medqa_tui.engine.status import EngineStatus

app = options.new_app("Start, stop or look at the process that holds the models.")

_MARKS = {
    "ready": "ready",
    "unloaded": "not loaded",
    "absent": "not used",
    "failed": "failed",
    "waiting": "waits",
}


@app.callback()
def engine() -> None:
    """Start, stop or look at the process that holds the models.

    It starts by itself when a question is asked, and leaves after a while without one.
    """


@app.command()
def start(ctx: typer.Context) -> int:
    """Start the engine, so that the next question finds the models loaded."""
    from medqa_tui.config import load_settings
    from medqa_tui.engine import lifecycle

    chosen = options.current(ctx)
    settings = load_settings(chosen.overrides())
    if not settings.engine.enabled:
        raise UsageError(
            "The engine is turned off.",
            "engine.enabled is false.",
            "medqa-tui config set engine.enabled true",
        )
    running = lifecycle.ensure_running(get_paths(), settings, diagnostics.note)
    _show(running, as_json=chosen.json)
    return ExitCode.OK


@app.command()
def stop(ctx: typer.Context) -> int:
    """Stop the engine; an answer that it is writing ends there."""
    from medqa_tui.engine import lifecycle

    stopped = lifecycle.stop(get_paths())
    if options.current(ctx).json:
        output.emit_record({"running": False, "stopped": stopped})
    else:
        diagnostics.note("The engine was stopped." if stopped else "No engine is running.")
    return ExitCode.OK


@app.command()
def status(ctx: typer.Context) -> int:
    """Show what the engine is doing; exit code 1 if none is running."""
    from medqa_tui.engine import connect, transport

    chosen, paths = options.current(ctx), get_paths()
    running = connect.status(paths)
    if running is not None:
        _show(running, as_json=chosen.json)
        return ExitCode.OK
    mute = transport.engine_is_alive(paths)
    if chosen.json:
        output.emit_record({"running": True, "responds": False} if mute else {"running": False})
    elif mute:
        diagnostics.note("An engine is running but does not respond: medqa-tui engine stop")
    else:
        diagnostics.note("No engine is running; it starts with the next question.")
    return ExitCode.FAILURE


@app.command()
def logs(
    ctx: typer.Context,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many of the last lines.")
    ] = 50,
) -> int:
    """Show the end of the engine's log; no question is ever in it."""
    from medqa_tui.engine import lifecycle, transport

    paths = get_paths()
    found = lifecycle.log_lines(paths, lines)
    if options.current(ctx).json:
        record = {"path": str(transport.log_file(paths)), "lines": found}
        output.emit_record(record)
    elif found:
        output.write("\n".join(found))
    else:
        diagnostics.note("The engine has written no log yet.")
    return ExitCode.OK


def _show(running: EngineStatus, *, as_json: bool) -> None:
    if as_json:
        loaded = list(running.loaded)
        output.emit_record({"running": True, **running.to_record(), "loaded": loaded})
        return
    for name, value in _lines(running):
        output.write(f"{name + ':':12}{value}")


def _lines(running: EngineStatus) -> list[tuple[str, str]]:
    parts = ", ".join(f"{name} {_MARKS.get(state, state)}" for name, state in running.parts.items())
    memory = _megabytes(running.memory)
    if running.gpu_memory is not None:
        memory += f", and {_megabytes(running.gpu_memory)} on the GPU"
    lines = [
        ("State", f"{running.state.value}. {running.doing}"),
        ("Profile", running.profile),
        ("Device", running.device or "not known before the model is loaded"),
        ("Parts", parts),
        ("Waiting", f"{running.queue} answers"),
        ("Idle", f"{running.idle_seconds:.0f} s, {_until(running.keep_alive)}"),
        ("Memory", memory),
        ("Process", f"{running.pid}, version {running.version}"),
    ]
    if running.problem:
        lines.insert(1, ("Problem", running.problem))
    return lines


def _until(keep_alive: float | None) -> str:
    return "stays" if keep_alive is None else f"leaves after {keep_alive:.0f} s without work"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
