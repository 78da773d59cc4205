"""Running the trials of `probe` in a process of their own, whatever becomes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medqa_tui.offline import offline_environment

# A cold import of torch from a slow disk takes a minute.
_TIMEOUT_S = 300
_MODULE = "medqa_tui.doctor.probe"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trials told, by part (`torch`, `host`, `nf4-cpu`, `nf4-cuda`)."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, part: str) -> dict[str, Any]:
        """Return what a trial told; `failed` says why it did not work."""
        return self.parts.get(part, {"failed": "an earlier trial ended its process"})

    def failure(self, part: str) -> str | None:
        """Return why a trial did not work, or None if it did."""
        failed = self.get(part).get("failed")
        return None if failed is None else str(failed)


def try_out(module: str = _MODULE) -> Outcome:
    """Run the trials and return what they told, also those before a crash."""
    # Without -P, a file called random.py in the user's folder would be taken for the library's.
    from_here = {"", str(Path.cwd())} & set(sys.path)
    command = [sys.executable, *([] if from_here else ["-P"]), "-m", module]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
            env=offline_environment(),
        )
    except subprocess.TimeoutExpired as error:
        return _read(error.stdout or b"", f"it took longer than {_TIMEOUT_S} s")
    except OSError as error:
        return Outcome({"torch": {"failed": f"the trial could not be run: {error}"}})
    return _read(done.stdout, _ending(done.returncode))


def _read(told: bytes, ending: str) -> Outcome:
    parts: dict[str, dict[str, Any]] = {}
    for line in told.splitlines():
        row = json.loads(line)
        part = row.pop("part")
        # Overwritten by the outcome, if the trial lives to tell it.
        parts[part] = {"failed": ending} if "started" in row else row
    return Outcome(parts or {"torch": {"failed": ending}})


def _ending(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"its process was ended by {name}"
    return f"its process ended with code {code}"
