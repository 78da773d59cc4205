"""A Python module of ours run as a child: NDJSON on its stdout, gone when its parent is."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medqa_tui.errors import DownloadError, ExitCode, MedQAError
from medqa_tui.models.files import check_cancel

Message = dict[str, Any]

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        last: Its last message, None if it said nothing.
        code: Its exit code, negative for a signal.
        stalled: Whether it was killed because it said nothing for too long.
    """

    last: Message | None
    code: int
    stalled: bool = False


def run_child(
    arguments: list[str],
    *,
    errors: BinaryIO | int,
    env: Mapping[str, str],
    on_message: Callable[[Message], None],
    cancel: threading.Event | None = None,
    stall_seconds: float | None = None,
) -> Ended:
    """Run `python -m` with these arguments until it ends, passing on what it says.

    The child is to watch its stdin with `end_with_parent`: when this process ends, however, so
    does the child.

    Args:
        errors: Where its stderr goes.
        stall_seconds: Kill it when it says nothing for so long; None waits for ever.

    Raises:
        Cancelled: `cancel` was set; the child is killed.
    """
    process = subprocess.Popen(
        [*_python(), "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(env),
    )
    try:
        last, stalled = _follow(process, on_message, cancel, stall_seconds)
        if not stalled:
            process.wait()
    finally:
        _end(process)
    # Ctrl-C reaches the child as well, and is no failure of it.
    check_cancel(cancel)
    return Ended(last, process.returncode, stalled)


def speak_to_parent() -> Callable[..., None]:
    """Return what sends one message, as keywords, to the parent; call once, first thing."""
    # Libraries print where they like; the line to the parent is ours alone.
    line = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(**message: Any) -> None:
        with lock:
            line.write(json.dumps(message).encode() + b"\n")

    return tell


def error_message(error: MedQAError) -> Message:
    """Return what a child tells its parent of an error."""
    return {
        "type": "error",
        "title": error.title,
        "detail": error.detail,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }


def error_of(message: Message) -> MedQAError:
    """Return the error that a child told of by `error_message`."""
    code = ExitCode(message["exit_code"])
    kind = DownloadError if code == ExitCode.DOWNLOAD else MedQAError
    return kind(message["title"], message["detail"], message["hint"], code)


def end_with_parent() -> None:
    """End this process as soon as its parent is gone."""

    def watch() -> None:
        # The parent never writes: reading ends when it closes the pipe, or dies.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _python() -> list[str]:
    # `python -m` takes modules from the user's folder first, where a file called random.py may
    # lie; that is right only if this process takes its own modules from there.
    from_here = {"", str(Path.cwd())} & set(sys.path)
    return [sys.executable] if from_here else [sys.executable, "-P"]


def _follow(
    process: subprocess.Popen[bytes],
    on_message: Callable[[Message], None],
    cancel: threading.Event | None,
    stall_seconds: float | None,
) -> tuple[Message | None, bool]:
    arrived: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process, arrived), daemon=True).start()
    last: Message | None = None
    heard = time.monotonic()
    while True:
        check_cancel(cancel)
        try:
            line = arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if stall_seconds is not None and time.monotonic() - heard > stall_seconds:
                return last, True
            continue
        if line is None:
            return last, False
        heard = time.monotonic()
        last = json.loads(line)
        if last is not None:
            on_message(last)


def _pump(process: subprocess.Popen[bytes], arrived: queue.Queue[bytes | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        arrived.put(line)
    arrived.put(None)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
