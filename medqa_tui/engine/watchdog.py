"""Ends an engine in which nothing moves any more, with a reason that its front ends can read."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from medqa_tui.engine.vitals import Vitals

HUNG = 70
"""Exit status of an engine that ended itself because nothing moved (EX_SOFTWARE)."""

_LOOKS = 20
_MOST_BETWEEN_LOOKS_S = 5.0
# A load has no steps to count; one that computes for so long will never end.
_LIMITS_A_LOAD = 10
_LONGEST_LOAD_S = 1200.0


@dataclass
class _Task:
    doing: str
    loads: bool
    beats: int
    quiet: float = 0.0
    age: float = 0.0
    vitals: Vitals | None = field(default=None, repr=False)


def end_process(reason: str) -> None:
    """Write why, and where every thread stands, to the log, and end this process."""
    # Past the log's own lock, which a thread that hangs may hold.
    os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')},000 ERROR fatal: {reason}\n".encode())
    faulthandler.dump_traceback(2, all_threads=True)
    os._exit(HUNG)


class Watchdog:
    """Looks now and then whether the work that goes on still moves.

    Work moves when a layer of a model is computed. Time is counted by looks and not by the clock,
    so that an engine which was suspended, alone or with the whole machine, has not hung.

    Args:
        limit: Seconds without any movement; 0 turns it off.
        on_hang: Is told why.
    """

    def __init__(self, limit: float = 0.0, on_hang: Callable[[str], None] = end_process) -> None:
        self._limit = limit
        self._on_hang = on_hang
        self._tasks: dict[int, _Task] = {}
        self._lock = threading.Lock()
        self._beats = 0
        self._follows_torch = False

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return min(self._limit / _LOOKS, _MOST_BETWEEN_LOOKS_S)

    def start(self) -> None:
        """Begin to look, in a thread that ends with the process."""
        if self._limit:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """Say that work moves; cheap enough for every layer of a model."""
        # Two threads may count as one; that it changes is all that matters.
        self._beats += 1

    def follow_torch(self) -> None:
        """Count every module that torch computes from now on as a beat."""
        if self._follows_torch or not self._limit:
            return
        self._follows_torch = True
        from torch.nn.modules.module import register_module_forward_pre_hook

        def computed(module: object, inputs: object) -> None:
            self.beat()

        register_module_forward_pre_hook(computed)

    @contextmanager
    def watch(self, doing: str, *, loads: bool = False) -> Iterator[None]:
        """Watch what this thread does inside.

        Args:
            doing: What it does, in words that follow "while".
            loads: It has no steps: computing and reading count as movement.
        """
        task = _Task(doing, loads, self._beats)
        if loads and self._limit:
            task.vitals = Vitals()
        with self._lock:
            self._tasks[id(task)] = task
        try:
            yield
        finally:
            with self._lock:
                del self._tasks[id(task)]

    def look(self) -> None:
        """Look once: count the time since the last look for whatever has not moved."""
        with self._lock:
            tasks = list(self._tasks.values())
        for task in tasks:
            moved = task.beats != self._beats
            if task.vitals:
                moved = task.vitals.moved(self.interval) or moved
            task.beats = self._beats
            task.age += self.interval
            task.quiet = 0.0 if moved else task.quiet + self.interval
            if task.quiet >= self._limit:
                self._on_hang(f"nothing moved for {task.quiet:.0f} s while {task.doing}")
            elif task.loads and task.age >= max(self._limit * _LIMITS_A_LOAD, _LONGEST_LOAD_S):
                self._on_hang(f"{task.doing} had not ended after {task.age:.0f} s")

    def _watch(self) -> None:
        while True:
            time.sleep(self.interval)
            self.look()
