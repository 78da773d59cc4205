"""The engine's process as a front end sees it: started, ended, and how it came to its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from medqa_tui.engine import transport
from medqa_tui.engine.status import engine_overrides
from medqa_tui.engine.transport import UNWRITABLE, Transport
from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.offline import offline_environment
from medqa_tui.paths import ensure

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths

_MODULE = "medqa_tui.engine"
_TERM_S = 5.0
_ABORT_S = 2.0
_EXIT_CODE_S = 1.0
_POLL_S = 0.02
_TAIL_BYTES = 100_000
# Windows' exit codes of a crash are the NTSTATUS of the exception.
_LEAST_NTSTATUS = 0x8000_0000
# What Python's fault handler calls the signals.
_FATAL = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Illegal instruction": "SIGILL",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
}
_NATIVE = frozenset(_FATAL.values())

KILLED = "killed, often for lack of memory"

_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(paths: Paths, settings: Settings, kind: Transport) -> tuple[subprocess.Popen[bytes], int]:
    """Start the engine, detached; return the process and how long its log was before."""
    command = [sys.executable, "-m", _MODULE, "--transport", kind.value]
    for key, value in engine_overrides(settings).items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        detached = {"creationflags": flags}
    # What a crash in native code says goes to standard error, so that is the log as well.
    log = _open_log(paths)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            # A folder of ours: `-m` looks for modules in the working directory first.
            cwd=paths.run,
            env=_environment(paths),
            **detached,
        )
        logged = os.fstat(log).st_size
    finally:
        os.close(log)
    _children[child.pid] = child
    # A front end may outlive the engine by hours and must not keep it as a zombie.
    threading.Thread(target=child.wait, daemon=True, name="reap").start()
    return child, logged


def _open_log(paths: Paths) -> int:
    try:
        ensure(paths.logs)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.open(transport.log_file(paths), flags, 0o600)
    except (OSError, MedQAError):
        # An engine that cannot log can still answer.
        return os.open(os.devnull, os.O_WRONLY)


def _environment(paths: Paths) -> dict[str, str]:
    environment = offline_environment()
    home = paths.config.parent
    if paths == type(paths)(
        home / "config", home / "data", home / "cache", home / "state", home / "run"
    ):
        environment["MEDQA_HOME"] = str(home)
    return environment


# -- how it ended ------------------------------------------------------------------------------


def crashed(code: int) -> bool:
    """Return whether the exit status `code` is a crash, and not the engine's own decision."""
    return code < 0 or code >= _LEAST_NTSTATUS


def how_it_ended(paths: Paths, pid: int | None) -> str:
    """Return how the engine `pid`, that was running, ended: a clause without a full stop.

    It waits a moment for the exit status of an engine that this process started.
    """
    lines = _said_by(paths, pid)
    spoken = _last_words(lines)
    if spoken:
        return spoken
    code = _exit_code(pid)
    if code is not None and code < 0:
        return how(code)
    if lines and lines[-1].endswith("engine stopped"):
        return "it left"
    return "it broke off, and runs on" if _runs(paths, pid) else KILLED


def _runs(paths: Paths, pid: int | None) -> bool:
    record = transport.read_record(paths)
    return record is not None and record.pid == pid and transport.engine_is_alive(paths)


def how_it_started(paths: Paths, code: int, logged: int) -> str:
    """Return why an engine ended with status `code` before it answered: a clause.

    Args:
        logged: How long its log was before.
    """
    lines = _log_from(paths, logged)
    if crashed(code):
        return _last_words(lines) or how(code)
    # The log's own lines come after a date; a traceback's are indented, but for the last.
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]
    if code == UNWRITABLE and not spoken:
        return f"exit status {code}: {paths.run} cannot be written, perhaps the disk is full"
    said = _last_words(lines) or (spoken or ["it said nothing"])[-1].rstrip(".")
    return f"exit status {code}: {said}"


def how(code: int) -> str:
    """Return what the negative exit status of a killed process means: a clause."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}" if code < 0 else f"status {code:#x}"
    if name == "SIGKILL":
        return f"{KILLED} (SIGKILL)"
    if name in _NATIVE or code > 0:
        return f"a crash in native code ({name})"
    return f"ended by {name}"


def _last_words(lines: list[str]) -> str:
    for line in reversed(lines):
        if "fatal: " in line:
            return line.split("fatal: ", 1)[1].rstrip(".")
        if found := re.match(r"Fatal Python error: ([A-Za-z -]+)", line):
            name = _FATAL.get(found[1].strip(), found[1].strip())
            return f"a crash in native code ({name})"
    return ""


def _said_by(paths: Paths, pid: int | None) -> list[str]:
    """Return what the engine `pid` wrote to the log, as far as the log still has it."""
    lines = _log_from(paths, -_TAIL_BYTES)
    started = [at for at, line in enumerate(lines) if f"started: pid {pid}," in line]
    return lines[started[-1] :] if started else lines


def _log_from(paths: Paths, offset: int) -> list[str]:
    try:
        with transport.log_file(paths).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size + offset) if offset < 0 else offset
            # Shorter than it was: it is a new file.
            file.seek(start if start <= size else 0)
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _exit_code(pid: int | None) -> int | None:
    child = _children.get(pid or 0)
    if child is None:
        return None
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(_EXIT_CODE_S)
    return None


# -- ending it ---------------------------------------------------------------------------------


def end(paths: Paths) -> None:
    """End an engine that does not leave by itself.

    Raises:
        EngineError: Something else holds the engine's lock, or it cannot be ended.
    """
    import psutil

    record = transport.read_record(paths)
    try:
        process = psutil.Process(record.pid) if record else None
        if process is None or not _holds_lock(paths, process):
            raise _foreign_lock(paths)
        _end(process)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise _foreign_lock(paths) from error
    until = time.monotonic() + _TERM_S
    while transport.engine_is_alive(paths):
        if time.monotonic() > until:
            raise _foreign_lock(paths)
        time.sleep(_POLL_S)


def _end(process: Any) -> None:
    import psutil

    # A suspended process sees no signal but this one before it goes on.
    if process.status() == psutil.STATUS_STOPPED:
        process.kill()
        return
    process.terminate()
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(_TERM_S)
        return
    if hasattr(signal, "SIGABRT") and os.name != "nt":
        # Python's fault handler writes to the log where it hangs.
        process.send_signal(signal.SIGABRT)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(_ABORT_S)
            return
    process.kill()


def _holds_lock(paths: Paths, process: Any) -> bool:
    """Return whether `process` is the engine of these folders.

    A process id is used again in time, perhaps by the engine of another home.
    """
    import psutil

    if _MODULE not in process.cmdline():
        return False
    lock = os.path.realpath(paths.run / "engine.lock")
    with contextlib.suppress(psutil.AccessDenied, NotImplementedError):
        return any(os.path.realpath(file.path) == lock for file in process.open_files())
    return True


def _foreign_lock(paths: Paths) -> EngineError:
    lock = paths.run / "engine.lock"
    return EngineError(
        "The engine cannot be stopped, or something else holds its lock.",
        f"{lock}.",
        f"See which process holds it, and end it: fuser {lock}",
    )
