"""One setup at a time: the lock goes with its process, however that ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medqa_tui.models.files import check_cancel
from medqa_tui.paths import Paths, ensure

_POLL_SECONDS = 0.2


def lock_file(paths: Paths) -> Path:
    """Return the file that a running setup holds."""
    return paths.data / "setup.lock"


@contextmanager
def setup_lock(
    paths: Paths, on_wait: Callable[[], None], cancel: threading.Event | None = None
) -> Iterator[None]:
    """Hold the setup lock; while another process has it, say so once and wait.

    Raises:
        Cancelled: `cancel` was set while waiting.
    """
    from filelock import FileLock, Timeout

    ensure(paths.data)
    lock = FileLock(lock_file(paths), mode=0o600)
    told = False
    while True:
        check_cancel(cancel)
        try:
            lock.acquire(timeout=_POLL_SECONDS if told else 0)
            break
        except Timeout:
            if not told:
                on_wait()
            told = True
    try:
        yield
    finally:
        lock.release()
