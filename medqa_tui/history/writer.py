"""Which process writes an answer, so that one that was killed is told from one still at work."""

from __future__ import annotations

import os
from functools import cache


@cache
def this_writer() -> str:
    """Return a mark of this process: its number and when it started."""
    pid = os.getpid()
    return f"{pid} {_started(pid)}"


def is_alive(writer: str) -> bool:
    """Return whether the process behind a mark still runs."""
    number, _, started = writer.partition(" ")
    if not number.isdigit():
        return False
    pid = int(number)
    return pid == os.getpid() or (started != "" and _started(pid) == started)


def _started(pid: int) -> str:
    # psutil is imported here: only a process that writes or lists history pays for it.
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""
