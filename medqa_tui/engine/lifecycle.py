"""Starting, replacing and stopping the engine from a front end; nothing heavy is loaded here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medqa_tui.engine import connect, transport
from medqa_tui.engine.installed import require_active
from medqa_tui.engine.keepalive import parse_keep_alive
from medqa_tui.engine.status import EngineStatus, engine_overrides, fingerprint
from medqa_tui.engine.transport import ANOTHER_RUNS, Transport
from medqa_tui.errors import EngineError, ExitCode, MedQAError
from medqa_tui.offline import offline_environment
from medqa_tui.paths import ensure

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths

START_TIMEOUT_S = 60.0
"""How long an engine may take until it answers; loading the models comes after that."""

_HANDOVER_S = 120.0
_STOP_S = 15.0
_KILL_S = 5.0
_POLL_S = 0.05
_MODULE = "medqa_tui.engine"

Say = Callable[[str], None]


def _silent(message: str) -> None:
    """Say nothing."""


def ensure_running(
    paths: Paths,
    settings: Settings,
    say: Say = _silent,
    *,
    kind: Transport | None = None,
    timeout: float = START_TIMEOUT_S,
    abandoned: threading.Event | None = None,
) -> EngineStatus:
    """Return the status of an engine that serves `settings`, started or replaced if need be.

    It answers by then, but may still be loading. An engine of another version, with other settings
    or with other files is asked to leave once it has nothing to do.

    Args:
        say: Is told what goes on, in words.
        kind: How the engine listens, if it has to be started.
        timeout: Seconds until a started engine must answer.
        abandoned: Set by another thread when nobody waits any more.

    Raises:
        NotSetUpError: Nothing is installed for the profile.
        EngineError: The engine cannot be started; the detail says why.
        UsageError: A setting of the engine is not valid.
    """
    require_active(paths, settings)
    parse_keep_alive(settings.engine.keep_alive)
    want = fingerprint(paths, settings)
    found = connect.status(paths)
    if found and found.serves(want):
        return found
    from filelock import Timeout

    transport.private_folder(paths.run)
    try:
        # Two front ends may get here at once: one starts the engine, the other finds it.
        with transport.start_lock(paths, _HANDOVER_S + timeout):
            found = connect.status(paths)
            if found and found.serves(want):
                return found
            _make_room(paths, found, say, _Patience(timeout, abandoned))
            say("Starting the engine.")
            patience = _Patience(timeout, abandoned)
            return _start(paths, settings, want, patience, kind or transport.default_transport())
    except Timeout as error:
        raise EngineError(
            "Another program is starting the engine and does not come to an end.",
            f"{paths.run}.",
            "medqa-tui engine stop",
        ) from error
    except OSError as error:
        raise EngineError(
            "The engine could not be started.",
            f"{error.filename or paths.run}: {error.strerror or error}.",
            "medqa-tui doctor, or the same command with --no-engine",
        ) from error


def stop(paths: Paths, timeout: float = _STOP_S) -> bool:
    """Stop the engine and return whether there was one.

    It is asked first; one that does not leave within `timeout` seconds is ended.

    Raises:
        EngineError: It cannot be ended.
    """
    if not transport.engine_is_alive(paths):
        return False
    connect.ask_to_stop(paths)
    if not _wait_gone(paths, _Patience(timeout)):
        _end(paths)
    return True


def log_lines(paths: Paths, count: int) -> list[str]:
    """Return the last `count` lines of the engine's log, oldest first."""
    try:
        text = transport.log_file(paths).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:] if count > 0 else []


@dataclass
class _Patience:
    """How long to wait, and whether anybody still does."""

    seconds: float
    abandoned: threading.Event | None = None

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def wait(self) -> bool:
        """Wait a moment; return False once the time is over."""
        if self.abandoned and self.abandoned.is_set():
            raise EngineError("Starting the engine was given up.", exit_code=ExitCode.INTERRUPTED)
        time.sleep(_POLL_S)
        return time.monotonic() < self._until


def _make_room(paths: Paths, found: EngineStatus | None, say: Say, patience: _Patience) -> None:
    """See an engine off that cannot be used."""
    if found is None:
        # Either none is there, or one that was just started does not answer yet, or it hangs.
        while transport.engine_is_alive(paths) and connect.status(paths) is None:
            if not patience.wait():
                _end(paths)
        found = connect.status(paths)
        if found is None:
            return
    say("Replacing an engine that runs with other settings or files.")
    connect.ask_to_stop(paths, "idle")
    if not _wait_gone(paths, _Patience(_HANDOVER_S, patience.abandoned)):
        stop(paths)


def _wait_gone(paths: Paths, patience: _Patience) -> bool:
    while transport.engine_is_alive(paths):
        if not patience.wait():
            return False
    return True


def _start(
    paths: Paths, settings: Settings, want: str, patience: _Patience, kind: Transport
) -> EngineStatus:
    child, logged = _spawn(paths, settings, kind)
    while True:
        status = connect.status(paths)
        if status and status.serves(want):
            return status
        code = child.poll()
        if code is not None and code != ANOTHER_RUNS:
            raise _died(paths, code, logged)
        if not patience.wait():
            child.kill()
            raise EngineError(
                "The engine does not answer.",
                f"It was started {patience.seconds:.0f} s ago (process {child.pid}).",
                "medqa-tui engine logs",
            )


def _spawn(
    paths: Paths, settings: Settings, kind: Transport
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the engine, detached; return the process and how long its log was before."""
    ensure(paths.logs)
    command = [sys.executable, "-m", _MODULE, "--transport", kind.value]
    for key, value in engine_overrides(settings).items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        detached = {"creationflags": flags}
    # What a crash in native code says goes to standard error, so that is the log as well.
    log = transport.log_file(paths)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=descriptor,
            # A folder of ours: `-m` looks for modules in the working directory first.
            cwd=paths.run,
            env=_environment(paths),
            **detached,
        )
        logged = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    # A front end may outlive the engine by hours and must not keep it as a zombie.
    threading.Thread(target=child.wait, daemon=True, name="reap").start()
    return child, logged


def _environment(paths: Paths) -> dict[str, str]:
    environment = offline_environment()
    home = paths.config.parent
    if paths == type(paths)(
        home / "config", home / "data", home / "cache", home / "state", home / "run"
    ):
        environment["MEDQA_HOME"] = str(home)
    return environment


def _died(paths: Paths, code: int, logged: int) -> MedQAError:
    """Return why the engine ended before it answered, from its last words."""
    try:
        with transport.log_file(paths).open("rb") as file:
            file.seek(logged)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    fatal = [line.split("fatal: ", 1)[1] for line in lines if "fatal: " in line]
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]
    said = (fatal or spoken or ["it said nothing"])[-1].rstrip(".")
    return EngineError(
        "The engine ended before it could answer.",
        f"{_how(code)}: {said}.",
        "medqa-tui engine logs, or medqa-tui doctor",
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"Exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    out_of_memory = " (often for lack of memory)" if name == "SIGKILL" else ""
    return f"Ended by {name}{out_of_memory}"


def _end(paths: Paths) -> None:
    """End an engine that does not leave by itself."""
    import psutil

    record = transport.read_record(paths)
    try:
        process = psutil.Process(record.pid) if record else None
        # A process id is used again in time: only what is an engine is ended.
        if process and _MODULE in process.cmdline():
            process.terminate()
            try:
                process.wait(_KILL_S)
            except psutil.TimeoutExpired:
                process.kill()
    except psutil.Error:
        pass
    if not _wait_gone(paths, _Patience(_KILL_S)):
        where = f"process {record.pid}" if record else f"the process that holds {paths.run}"
        raise EngineError("The engine cannot be stopped.", f"{where}.", "End it yourself.")
