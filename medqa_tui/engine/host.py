"""The engine's process: one per user, from its lock and socket to the moment it leaves."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from medqa_tui import __version__
from medqa_tui.engine import transport
from medqa_tui.engine.transport import ANOTHER_RUNS, UNWRITABLE, EngineRecord, Transport
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.offline import go_offline
from medqa_tui.paths import Paths, ensure, get_paths

if TYPE_CHECKING:
    from medqa_tui.config import Settings

_LOCK_WAIT_S = 3.0
_GRACE_S = 10
_LOG_BYTES = 1_000_000
_LOG_FILES = 3

log = logging.getLogger("medqa_tui.engine")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the engine until it is told to leave or has been idle; return its exit status."""
    # Before anything is created or imported: files for this user only, and no network.
    os.umask(0o077)
    _leave_no_core()
    go_offline()
    if hasattr(signal, "SIGHUP"):
        # The terminal of the front end that started it may close.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asked = _parse(argv)
    paths = get_paths()
    try:
        _open_log(paths)
        faulthandler.enable()
        return _hold_lock(paths, dict(asked.set), Transport(asked.transport))
    except MedQAError as error:
        log.error("fatal: %s", error)
        return int(error.exit_code)
    except OSError as error:
        # Said by the exit status too: on a full disk the log has no room for it.
        where = error.filename or paths.run
        log.error("fatal: %s: %s", where, error.strerror or type(error).__name__)
        return UNWRITABLE
    except Exception as error:
        log.exception("fatal: %s", type(error).__name__)
        return int(ExitCode.FAILURE)


def leave(status: int) -> None:
    """End the process now; threads may be deep in native code, and their destructors can crash."""
    logging.shutdown()
    os._exit(status)


def _leave_no_core() -> None:
    """Have a crash write no image of the memory to disk: a question may be in it."""
    try:
        import resource
    except ImportError:  # not on Windows, where nothing is written unless asked for
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m medqa_tui.engine", description=__doc__)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_override,
        metavar="KEY=JSON",
        help="a setting that the front end resolved, such as profile='\"starter\"'",
    )
    parser.add_argument(
        "--transport",
        choices=[member.value for member in Transport],
        default=transport.default_transport().value,
        help="a Unix domain socket, or a loopback port with a token",
    )
    return parser.parse_args(argv)


def _override(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def _hold_lock(paths: Paths, overrides: dict[str, object], kind: Transport) -> int:
    from filelock import Timeout

    from medqa_tui.config import load_settings

    settings = load_settings(overrides)
    transport.private_folder(paths.run)
    try:
        with transport.engine_lock(paths, _LOCK_WAIT_S):
            # Over what a killed one left: until it listens, this is who holds the lock.
            starting = EngineRecord(os.getpid(), __version__, kind, "")
            transport.write_record(paths, starting)
            try:
                asyncio.run(_serve(paths, settings, kind))
            finally:
                transport.clear(paths, starting)
    except Timeout:
        log.info("another engine is running")
        return ANOTHER_RUNS
    return int(ExitCode.OK)


async def _serve(paths: Paths, settings: Settings, kind: Transport) -> None:
    from medqa_tui.engine.keepalive import parse_keep_alive
    from medqa_tui.engine.local import LocalBackend
    from medqa_tui.engine.parts import Part
    from medqa_tui.engine.server import Engine, build_app
    from medqa_tui.engine.status import fingerprint
    from medqa_tui.engine.watchdog import Watchdog

    keep_alive = parse_keep_alive(settings.engine.keep_alive)
    watchdog = Watchdog(settings.engine.watchdog)
    backend = LocalBackend(paths, settings, watchdog)
    parts = backend.parts
    engine = Engine(backend, keep_alive, lambda: fingerprint(paths, settings, parts.active))
    token = transport.write_token(paths) if kind is Transport.PORT else ""
    listener, location = transport.bind(paths, kind)
    record = EngineRecord(os.getpid(), __version__, kind, location)
    server = _server(build_app(engine, token), engine.stop)
    loop = asyncio.get_running_loop()

    async def leave_when_idle() -> None:
        await engine.activity.until_idle()
        log.info("leaving after %.0f s without work", engine.activity.idle_seconds)
        server.should_exit = True

    watcher = asyncio.create_task(leave_when_idle())
    listener.listen(128)
    transport.write_record(paths, record)
    log.info("engine %s started: pid %d, profile %s", __version__, record.pid, settings.profile)
    watchdog.start()
    # Last, since importing the heavy stack slows down whatever runs beside it.
    last = parts.want(Part.RERANKER if backend.quotes else Part.GENERATOR)
    last.add_done_callback(lambda _: loop.call_soon_threadsafe(engine.activity.loaded))
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()
        # Before the lock is let go, so that nothing of a successor's is removed.
        transport.clear(paths, record)
        log.info("engine stopped")


def _server(app: Any, on_signal: Any) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            on_signal()
            # uvicorn would raise the signal again at the end, which looks like a crash.
            self.should_exit = True

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    return Server(config)


def _open_log(paths: Paths) -> None:
    # What cannot be logged (the disk is full, say) is no reason not to answer.
    logging.raiseExceptions = False
    handler: logging.Handler = logging.NullHandler()
    with contextlib.suppress(OSError, MedQAError):
        ensure(paths.logs)
        handler = _LogFile(
            transport.log_file(paths), maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
        )
        transport.log_file(paths).chmod(0o600)
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_first_line_of_others)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    threading.excepthook = lambda args: log.error(
        "a thread failed",
        exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback),
    )


class _LogFile(RotatingFileHandler):
    """The log, whose newest file is also where standard error goes.

    A crash in native code speaks there, and its words are looked for in the newest file.
    """

    def doRollover(self) -> None:
        logged = False
        with contextlib.suppress(OSError):
            logged = os.path.samestat(os.fstat(2), Path(self.baseFilename).stat())
        super().doRollover()
        if logged and self.stream:
            os.dup2(self.stream.fileno(), 2)


def _first_line_of_others(record: logging.LogRecord) -> bool:
    # asyncio and others go on with the error's own words, which may repeat a question.
    if not record.name.startswith("medqa_tui"):
        record.msg, record.args = record.getMessage().split("\n", 1)[0], None
    return True


class _Discreet(logging.Formatter):
    """Writes where an error happened, not its own words: those may repeat a question."""

    def formatException(self, ei: Any) -> str:
        lines = []
        error: BaseException | None = ei[1]
        while error is not None:
            kind = type(error)
            lines.append(f"  {kind.__module__}.{kind.__name__}")
            for frame in traceback.extract_tb(error.__traceback__):
                lines.append(f"    {frame.filename}:{frame.lineno} in {frame.name}")
            error = error.__cause__ or error.__context__
        return "\n".join(lines)
