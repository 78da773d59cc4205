"""Makes an engine fail where it is told to; read by Python itself at the start of the process.

It lies outside the program, which knows nothing of it: a folder on PYTHONPATH, and two variables.

    ENGINE_FAULT=stage:action[:pass]    where, what, and at which pass through there: 3, or 1-2
    ENGINE_FAULT_MARKS=FOLDER           a file for each fault that struck; it strikes once, unless
                                        the action ends with an exclamation mark

Stages: start, load, retrieve, first (before the first token), answer (a token), check. Actions: the
name of a signal (KILL, SEGV, ABRT, ILL), hang, spin, oom, broken, exit, version, and clock.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_PARTS = (os.environ.get("ENGINE_FAULT") or "::").split(":")
STAGE, ACTION = _PARTS[0], _PARTS[1]
FIRST, _, LAST = ((_PARTS[2:3] or ["1"])[0] or "1").partition("-")
_passed = 0


def strike(stage: str) -> None:
    """Do what was asked for, if this is the place and the pass."""
    global _passed  # noqa: PLW0603 - one process, one fault
    if stage != STAGE:
        return
    _passed += 1
    mark = Path(os.environ["ENGINE_FAULT_MARKS"]) / f"{stage}-{ACTION.rstrip('!')}"
    wanted = int(FIRST) <= _passed <= int(LAST or FIRST)
    if not wanted or (mark.exists() and not ACTION.endswith("!")):
        return
    mark.touch()
    _do(ACTION.rstrip("!"))


def _do(action: str) -> None:
    if action == "hang":
        threading.Event().wait()
    elif action == "spin":
        while True:
            time.sleep(0)
    elif action == "exit":
        os._exit(3)
    elif action == "oom":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    elif action == "broken":
        from medqa_tui.errors import BrokenDeviceError

        raise BrokenDeviceError(
            "The GPU stopped working.", "CUDA error: an illegal memory access.", "Ask again."
        )
    else:
        os.kill(os.getpid(), signal.Signals[f"SIG{action}"])
        threading.Event().wait()


def _around(owner: Any, name: str, stage: str) -> None:
    """Have `strike` called before `owner.name` is."""
    real = getattr(owner, name)

    def faulty(*args: Any, **options: Any) -> Any:
        strike(stage)
        return real(*args, **options)

    setattr(owner, name, faulty)


class _Streamer:
    """Passes tokens on, and counts them."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def put(self, value: Any) -> None:
        self._real.put(value)
        strike("answer")

    def end(self) -> None:
        self._real.end()


def _generation(module: ModuleType) -> None:
    real = module.GenerationMixin.generate

    def generate(self: Any, *args: Any, **options: Any) -> Any:
        strike("first")
        if options.get("streamer") is not None:
            options["streamer"] = _Streamer(options["streamer"])
        return real(self, *args, **options)

    module.GenerationMixin.generate = generate


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "medqa_tui.engine.transport": lambda module: _around(module, "bind", "start"),
    "medqa_tui.engine.parts": lambda module: _around(module.Parts, "_load_generator", "load"),
    "medqa_tui.retrieval.retriever": lambda module: _around(module.Retriever, "search", "retrieve"),
    "medqa_tui.grounding.support": lambda module: _around(module.SupportChecker, "check", "check"),
    "transformers.generation.utils": _generation,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Patches a module right after it was loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            _PATCHES[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _jumping(real: Callable[[], float]) -> Callable[[], float]:
    """Return a wall clock that jumps a day ahead, and a day back, at every look."""
    looks = 0

    def now() -> float:
        nonlocal looks
        looks += 1
        return real() + (86400.0 if looks % 2 else -86400.0)

    return now


def _is_engine() -> bool:
    return sys.orig_argv[1:3] == ["-m", "medqa_tui.engine"]


if STAGE and _is_engine():
    if ACTION == "version":
        import medqa_tui

        medqa_tui.__version__ = "0.0.1"
    elif ACTION == "clock":
        time.time = _jumping(time.time)
    else:
        sys.meta_path.insert(0, _Finder())
