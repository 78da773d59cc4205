"""A heavy phase in a process of its own: progress as NDJSON, gone when its parent is."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from medqa_tui.errors import MedQAError
from medqa_tui.models.child import Message, error_of, run_child
from medqa_tui.offline import offline_environment
from medqa_tui.paths import Paths, ensure
from medqa_tui.setup.events import Chore, Phase

__all__ = ["Job", "Message", "WorkerKilledError", "run_job"]


class WorkerKilledError(MedQAError):
    """The system ended the worker, most often for want of memory."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do, and where.

    Attributes:
        threads: CPU threads; 0 uses every core.
        base: Public id of the generator, where the profile offers several; empty for its own.
    """

    phase: Phase | Chore
    profile: str
    paths: Paths
    device: Literal["auto", "cuda", "cpu"]
    threads: int
    base: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        row = json.loads(text)
        folders = {name: Path(folder) for name, folder in row.pop("paths").items()}
        name = row.pop("phase")
        phase = Chore(name) if name in set(Chore) else Phase(name)
        return cls(phase=phase, paths=Paths(**folders), **row)


def run_job(
    job: Job, on_progress: Callable[[Message], None], cancel: threading.Event | None = None
) -> str:
    """Run `job` in a worker process and return its closing sentence.

    The worker watches its stdin: when this process ends, however, so does the worker.

    Args:
        on_progress: Called with `message`, `done`, `total`, `unit`.

    Raises:
        MedQAError: The worker failed, or died.
        Cancelled: `cancel` was set; the worker is stopped.
    """

    def on_message(message: Message) -> None:
        if message["type"] == "progress":
            on_progress(message)

    log = ensure(job.paths.logs) / f"setup-{job.phase}.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as errors:
        ended = run_child(
            ["medqa_tui.setup.worker", job.phase, job.to_json()],
            errors=errors,
            env=offline_environment(),
            on_message=on_message,
            cancel=cancel,
        )
    last = ended.last
    if last is not None and last["type"] == "error":
        raise error_of(last)
    if last is None or last["type"] != "done" or ended.code != 0:
        raise _died(job, ended.code, log)
    log.unlink(missing_ok=True)
    return str(last["message"])


def _died(job: Job, code: int, log: Path) -> MedQAError:
    hint = "Type `medqa-tui doctor` to see what is wrong, then: medqa-tui setup"
    if code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            hint = "The machine may be short of memory: close other programs, then type: "
            hint += "medqa-tui setup"
        detail = f"{job.phase}: {name}; see {log}."
        return WorkerKilledError("A step of setup was killed.", detail, hint)
    return MedQAError("A step of setup failed.", f"{job.phase}: code {code}; see {log}.", hint)
