"""A heavy phase in a process of its own: progress as NDJSON, gone when its parent is."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.models.files import check_cancel
from medqa_tui.offline import offline_environment
from medqa_tui.paths import Paths, ensure
from medqa_tui.setup.events import Phase

_POLL_SECONDS = 0.1

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do, and where.

    Attributes:
        threads: CPU threads; 0 uses every core.
    """

    phase: Phase
    profile: str
    paths: Paths
    device: Literal["auto", "cuda", "cpu"]
    threads: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        row = json.loads(text)
        folders = {name: Path(folder) for name, folder in row.pop("paths").items()}
        return cls(phase=Phase(row.pop("phase")), paths=Paths(**folders), **row)


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
    log = ensure(job.paths.logs) / f"setup-{job.phase}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*_python(), "-m", "medqa_tui.setup.worker", job.phase, job.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=offline_environment(),
        )
    try:
        last = _follow(process, on_progress, cancel)
        process.wait()
    finally:
        _end(process)
    # Ctrl-C reaches the worker as well, and is no failure of it.
    check_cancel(cancel)
    if last is not None and last["type"] == "error":
        code = ExitCode(last["exit_code"])
        raise MedQAError(last["title"], last["detail"], last["hint"], code)
    if last is None or last["type"] != "done" or process.returncode != 0:
        raise _died(job, process.returncode, log)
    log.unlink(missing_ok=True)
    return str(last["message"])


def _python() -> list[str]:
    # `python -m` takes modules from the user's folder first, where a file called random.py may
    # lie; that is right only if this process takes its own modules from there.
    from_here = {"", str(Path.cwd())} & set(sys.path)
    return [sys.executable] if from_here else [sys.executable, "-P"]


def _follow(
    process: subprocess.Popen[bytes],
    on_progress: Callable[[Message], None],
    cancel: threading.Event | None,
) -> Message | None:
    arrived: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process, arrived), daemon=True).start()
    last: Message | None = None
    while True:
        check_cancel(cancel)
        try:
            line = arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return last
        last = json.loads(line)
        if last is not None and last["type"] == "progress":
            on_progress(last)


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


def _died(job: Job, code: int, log: Path) -> MedQAError:
    hint = "Type `medqa-tui doctor` to see what is wrong, then: medqa-tui setup"
    if code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            hint = "The machine may be short of memory: close other programs, then type: "
            hint += "medqa-tui setup"
        return MedQAError("A step of setup was killed.", f"{job.phase}: {name}; see {log}.", hint)
    return MedQAError("A step of setup failed.", f"{job.phase}: code {code}; see {log}.", hint)
