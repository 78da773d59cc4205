"""A home in which things go wrong, and what a user sees of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from _common import program

from medqa_tui.engine import connect, lifecycle, transport
from medqa_tui.errors import MedQAError
from medqa_tui.history.store import HistoryStore
from medqa_tui.paths import Paths

FAULTS = Path(__file__).parent / "engine_faults"
QUESTION = "What are the symptoms of type 2 diabetes?"
PATIENCE_S = 300.0
_POLL_S = 0.05
# What the program says of the engine begins with one of these.
_TELLING = (
    "The engine",
    "Waiting",
    "Replacing",
    "Error",
    "Another",
    "A folder",
    "error",
    "There is",
)


@dataclass
class Seen:
    """What came of one fault."""

    fault: str
    saw: list[str]
    code: int | None
    afterwards: str = ""
    works: bool = False
    skipped: str = ""


@dataclass
class Lab:
    """A copy of a set-up home, in which things go wrong."""

    root: Path
    marks: int = 0
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return Paths(*(self.root / name for name in ("config", "data", "cache", "state", "run")))

    def environment(self, fault: str = "", **more: str) -> dict[str, str]:
        self.marks += 1
        marks = self.root / f"marks{self.marks}"
        marks.mkdir()
        return {
            **os.environ,
            "MEDQA_HOME": str(self.root),
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(FAULTS), os.environ.get("PYTHONPATH")))
            ),
            # As it comes, the starter profile quotes; most of the faults are a model's.
            "MEDQA_ANSWER__GENERATOR": "model",
            "ENGINE_FAULT": fault,
            "ENGINE_FAULT_MARKS": str(marks),
            **more,
        }

    def start(
        self, *words: str, fault: str = "", question: str = QUESTION, **more: str
    ) -> subprocess.Popen[str]:
        self.settings = more
        return subprocess.Popen(
            [*program(), "ask", "--json", "--no-setup", *words, question],
            env=self.environment(fault, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def engine(self) -> psutil.Process | None:
        """Return the process of the engine once it says where it listens, or None."""
        record = transport.read_record(self.paths)
        with contextlib.suppress(psutil.Error):
            if record and transport.engine_is_alive(self.paths):
                return psutil.Process(record.pid)
        return None

    def warm(self, **more: str) -> psutil.Process:
        """Start the engine, and return it once everything is loaded."""
        done = subprocess.run(
            [*program(), "engine", "start"],
            env=self.environment(**more),
            capture_output=True,
            check=True,
        )
        del done
        until(lambda: (s := connect.status(self.paths)) is not None and s.state == "ready")
        found = self.engine()
        assert found
        return found

    def busy(self) -> bool:
        found = connect.status(self.paths)
        return bool(found and found.busy and found.state == "ready")

    def stop(self) -> None:
        # First of all, while the record still leads to it.
        engine = None
        with contextlib.suppress(MedQAError):
            engine = self.engine()
        with contextlib.suppress(Exception):
            lifecycle.stop(self.paths)
        if engine:
            with contextlib.suppress(psutil.Error):
                engine.kill()
        shutil.rmtree(self.paths.run, ignore_errors=True)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("Nothing happened for a long time.")
        time.sleep(_POLL_S)


def ended(name: str, asked: subprocess.Popen[str]) -> Seen:
    """Wait for a question and return what was seen of it."""
    out, err = asked.communicate(timeout=PATIENCE_S)
    saw = [line.strip() for line in err.splitlines() if line.strip().startswith(_TELLING)]
    with contextlib.suppress(ValueError):
        answer = json.loads(out)
        error = answer["error"]
        saw += [note for note in answer["notices"] if note.startswith(("Memory", "The engine"))]
        if error:
            saw.append(f"{error['title']} {error['detail']}")
        saw.append(f"[{answer['status']}, {len(answer['sentences'])} sentences]")
    return Seen(name, list(dict.fromkeys(saw)), asked.returncode)


# -- what is left ------------------------------------------------------------------------------


def look_after(lab: Lab, seen: Seen) -> None:
    """See what is left, and whether the next question is answered."""
    store = HistoryStore(lab.paths.history_db)
    for entry in store.list(1):
        seen.afterwards += f"history: {entry.status}, {len(entry.text.split())} words; "
    store.close()
    try:
        connect.status(lab.paths)
        seen.afterwards += "an engine runs" if lab.engine() else "no engine"
    except MedQAError:
        seen.afterwards += "no engine asked"
        _put_right(lab)
    # With the same settings, so that the engine which is left can serve.
    again = ended("", lab.start("--no-save", **lab.settings))
    seen.works = again.code == 0
    if not seen.works:
        seen.afterwards += f"; then {again.code}: {again.saw}"


def _put_right(lab: Lab) -> None:
    """Remove what is not the user's own, as the hint says."""
    place = None
    with contextlib.suppress(OSError, ValueError, KeyError):
        place = Path(json.loads(transport.record_file(lab.paths).read_text())["location"])
        place.unlink()
    if place is None:
        shutil.rmtree(lab.paths.run)


def copy(source: Path, to: Path) -> None:
    """Copy what setup made; the large files are linked."""
    for name in ("models", "adapters", "indexes"):
        if (source / "data" / name).is_dir():
            shutil.copytree(
                source / "data" / name, to / "data" / name, copy_function=os.link, symlinks=True
            )
    if (source / "data" / "corpora").is_dir():
        shutil.copytree(source / "data" / "corpora", to / "data" / "corpora")
    shutil.copy2(source / "data" / "active.json", to / "data" / "active.json")
