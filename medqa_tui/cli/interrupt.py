"""Ctrl-C: once asks the work to stop and keeps what there is, twice ends the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from medqa_tui.cli import diagnostics
from medqa_tui.errors import ExitCode


@contextmanager
def first_calls(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C while the block runs; a second one ends the process.

    For the main thread only, where Python delivers signals.
    """

    def die(number: int, frame: FrameType | None) -> NoReturn:
        diagnostics.hide()
        # Threads of a model in this process would hold up an orderly exit. What was answered so
        # far is in the history already.
        os._exit(ExitCode.INTERRUPTED)

    def ask(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, die)
        stop()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
