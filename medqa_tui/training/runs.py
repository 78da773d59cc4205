"""What a training tells of itself in a small file, for whoever looks, and how it is asked to end.

Beside the file lies a lock that goes with the process, however that ends: a file that says
"running" while nobody holds its lock is of a run that was killed.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from medqa_tui.errors import ExitCode, MedQAError, UsageError
from medqa_tui.paths import ensure

if TYPE_CHECKING:
    from medqa_tui.training.progress import TrainEvent

Points = tuple[tuple[int, float], ...]

KEPT_POINTS = 240
"""Losses that are kept of a run; of a longer one, the means of neighbours."""

KEPT_RUNS = 40
"""Runs that are remembered after they ended."""

_WRITE_EVERY = 0.5
_LOOK_EVERY = 0.5
# A reader holds the lock for as long as it takes to see that nobody else does.
_LOCK_PATIENCE = 2.0
# Some shared disks do not tell one machine of another's locks.
_SILENCE = 600.0


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    STOPPED = "stopped"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def is_live(self) -> bool:
        """Whether its process is there."""
        return self in {RunState.RUNNING, RunState.STOPPING}


@dataclass(frozen=True, slots=True)
class RunReport:
    """How one training is.

    Attributes:
        id: Of this start; another start under the same name has another.
        kind: What is trained: "generator" or "reranker".
        began: Seconds since the epoch.
        updated: When it last said something, in seconds since the epoch.
        rate: `unit`s a second.
        left: Seconds to go, as of `updated`.
        losses: (step, mean loss since the one before), in order.
        validation: (step, loss on what was kept out), in order.
        output: Where the result goes.
        words: Why it ended, and what to type next, where there is something to say.
    """

    id: str
    name: str
    kind: str
    state: RunState
    phase: str
    host: str
    pid: int
    began: float
    updated: float
    output: str
    step: int = 0
    total: int = 0
    unit: str = ""
    rate: float | None = None
    left: float | None = None
    losses: Points = ()
    validation: Points = ()
    words: str = ""

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Return what a file says.

        Raises:
            ValueError: It is not one of these files, or it is damaged.
        """
        row = json.loads(text)
        if not isinstance(row, dict):
            raise ValueError("not an object")
        try:
            values = {each.name: row[each.name] for each in fields(cls)}
            values["state"] = RunState(values["state"])
            for name in ("losses", "validation"):
                values[name] = tuple((int(step), float(loss)) for step, loss in values[name])
            for name in ("began", "updated"):
                values[name] = float(values[name])
            for name in ("rate", "left"):
                values[name] = None if values[name] is None else float(values[name])
            for name in ("step", "total", "pid"):
                values[name] = int(values[name])
            for name in ("id", "name", "kind", "phase", "host", "output", "unit", "words"):
                values[name] = str(values[name])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError("not a report of a run") from error
        return cls(**values)

    def left_now(self, now: float) -> float | None:
        """Return the seconds to go at `now`, in seconds since the epoch."""
        if self.left is None or not self.state.is_live:
            return None
        return max(0.0, self.left - max(0.0, now - self.updated))

    def after(self, event: TrainEvent, now: float) -> Self:
        """Return the report once the event has happened."""
        if event.validation is not None:
            points = (
                *(p for p in self.validation if p[0] < event.done),
                (event.done, event.validation),
            )
            return replace(self, validation=points, total=event.total, updated=now)
        changed = replace(self, phase=event.phase, rate=event.rate, left=event.left, updated=now)
        # What comes after the last step, such as saving, counts nothing.
        if event.total:
            changed = replace(changed, step=event.done, total=event.total, unit=event.unit)
        if event.loss is None:
            return changed
        # A run that is gone on with learns some steps a second time.
        before = tuple(point for point in self.losses if point[0] < event.done)
        validation = tuple(point for point in self.validation if point[0] <= event.done)
        losses = _thinned((*before, (event.done, event.loss)))
        return replace(changed, losses=losses, validation=validation)


def read_runs(folder: Path) -> tuple[RunReport, ...]:
    """Return every run that is known in `folder`: those under way, then the others, newest first.

    Files that are damaged, or of another version, are passed over.
    """
    found = []
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError):
            found.append(_as_it_is(path, RunReport.parse(path.read_bytes())))
    return tuple(sorted(found, key=lambda run: (not run.state.is_live, -run.began)))


def ask_to_stop(folder: Path, run: RunReport) -> None:
    """Ask a run to end after its step and to keep a checkpoint; it looks every half second.

    Raises:
        MedQAError: The request could not be written.
    """
    from medqa_tui.models.files import disk_error, write_atomic

    try:
        write_atomic(_stop_file(folder, run.name), run.id.encode())
    except OSError as error:
        raise disk_error(error, folder) from error


class RunRecorder:
    """Writes down how a run is while its block runs, and sets `cancel` when it is asked to end.

    Called with each event. That nothing can be written never ends a training.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        kind: str,
        output: Path,
        cancel: threading.Event,
        *,
        resume: bool = False,
    ) -> None:
        from filelock import FileLock

        self._file = ensure(folder) / f"{name}.json"
        self._stop = _stop_file(folder, name)
        self._lock = FileLock(_lock_file(self._file), mode=0o600)
        self._cancel = cancel
        self._resume = resume
        self._over = threading.Event()
        self._written = 0.0
        self._before = b""
        now = time.time()
        self._report = RunReport(
            uuid.uuid4().hex,
            name,
            kind,
            RunState.RUNNING,
            "starting",
            socket.gethostname(),
            os.getpid(),
            now,
            now,
            str(output),
        )

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            UsageError: A training of that name is under way.
        """
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=_LOCK_PATIENCE)
        except Timeout:
            raise UsageError(
                "A training of this name is under way.",
                f"{self._report.name}: {self._file}.",
                "Let it end, stop it, or choose another: --output my-adapter",
            ) from None
        self._stop.unlink(missing_ok=True)
        with suppress(OSError):
            self._before = self._file.read_bytes()
        if self._resume:
            with suppress(ValueError):
                before = RunReport.parse(self._before)
                self._report = replace(
                    self._report, losses=before.losses, validation=before.validation
                )
        self._write()
        _forget_old(self._file.parent)
        threading.Thread(target=self._look, name="asked to stop?", daemon=True).start()
        return self

    def __call__(self, event: TrainEvent) -> None:
        """Take up what has happened."""
        phase = self._report.phase
        self._report = self._report.after(event, time.time())
        soon = time.monotonic() - self._written >= _WRITE_EVERY
        if soon or event.validation is not None or event.phase != phase:
            self._write()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write down how it ended, and let go of the name."""
        self._over.set()
        if isinstance(error, UsageError):
            self._never_was()
        else:
            state, words = _ending(error)
            self._report = replace(
                self._report, state=state, words=words, left=None, updated=time.time()
            )
            self._write()
        self._stop.unlink(missing_ok=True)
        self._lock.release()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            if _is_asked(self._stop, self._report.id):
                self._cancel.set()
                return

    def _never_was(self) -> None:
        """Leave what was known of the name before: what was typed wrong is no run."""
        from medqa_tui.models.files import write_atomic

        with suppress(OSError):
            if self._before:
                write_atomic(self._file, self._before)
            else:
                self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        from medqa_tui.models.files import write_atomic

        self._written = time.monotonic()
        with suppress(OSError):
            write_atomic(self._file, json.dumps(asdict(self._report)).encode())


def _ending(error: BaseException | None) -> tuple[RunState, str]:
    match error:
        case None:
            return RunState.ENDED, ""
        case MedQAError(exit_code=ExitCode.INTERRUPTED):
            return RunState.STOPPED, error.hint
        case MedQAError():
            return RunState.FAILED, str(error)
        case KeyboardInterrupt():
            return RunState.STOPPED, ""
        case _:
            return RunState.FAILED, f"{type(error).__name__} inside the program."


def _as_it_is(path: Path, said: RunReport) -> RunReport:
    if said.state is not RunState.RUNNING:
        return said
    near = said.host == socket.gethostname() or time.time() - said.updated > _SILENCE
    if near and not _is_held(_lock_file(path)):
        return replace(said, state=RunState.KILLED, left=None)
    if _is_asked(_stop_file(path.parent, said.name), said.id):
        return replace(said, state=RunState.STOPPING)
    return said


def _is_held(file: Path) -> bool:
    from filelock import FileLock, Timeout

    if not file.exists():
        return False
    lock = FileLock(file, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _is_asked(file: Path, run: str) -> bool:
    try:
        return file.read_text() == run
    except (OSError, ValueError):
        return False


def _lock_file(file: Path) -> Path:
    return file.with_suffix(".lock")


def _stop_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.stop"


def _forget_old(folder: Path) -> None:
    over = [run for run in read_runs(folder) if not run.state.is_live]
    for run in over[KEPT_RUNS:]:
        for suffix in (".json", ".lock", ".stop"):
            with suppress(OSError):
                (folder / f"{run.name}{suffix}").unlink(missing_ok=True)


def _thinned(points: Points) -> Points:
    if len(points) <= KEPT_POINTS:
        return points
    # The newest stays as it is.
    *older, newest = points
    pairs = [older[at : at + 2] for at in range(0, len(older), 2)]
    return (*((pair[-1][0], sum(loss for _, loss in pair) / len(pair)) for pair in pairs), newest)
