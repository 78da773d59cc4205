"""What every benchmark needs: who measured, medians, tables, JSON, and the memory of a process."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths

# Instructions that decide how fast a CPU computes in 16 and 8 bits.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        values = list(self.values)
        return {"median": self.median, "min": min(values), "max": max(values), "values": values}

    def text(self, digits: int = 2, *, ends: bool = True) -> str:
        """Return the median, with the least and the greatest value after it."""
        shown = f"{self.median:.{digits}f}"
        if not ends or len(self.values) == 1:
            return shown
        return f"{shown} ({min(self.values):.{digits}f} to {max(self.values):.{digits}f})"


def median(values: Sequence[float]) -> float | None:
    """Return the median, or None of nothing."""
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int = 2) -> str:
    """Return a number for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is aligned to the right."""
    lines = [
        "| " + " | ".join(headers) + " |",
        "|---|" + "---:|" * (len(headers) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)


# -- the machine -------------------------------------------------------------------------------


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(*packages: str) -> str:
    """Return one line on the machine, and on the versions of `packages` in use."""
    name, flags = _cpu()
    parts = [
        f"{name}, {cores()} cores" + (f" ({' '.join(flags)})" if flags else ""),
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in packages),
        f"load {psutil.getloadavg()[0]:.1f} at the start",
        datetime.now(UTC).strftime("%Y-%m-%d"),
    ]
    return ", ".join(parts)


def version(package: str) -> str:
    """Return the installed version of a package, or "absent"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _cpu() -> tuple[str, list[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    present = fields.get("flags", "").split()
    return fields.get("model name", platform.machine()), [f for f in _FLAGS if f in present]


# -- memory ------------------------------------------------------------------------------------


class PeakMemory:
    """Samples the resident memory of a process while the block runs.

    Attributes:
        peak: The greatest resident size seen, in bytes.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    def _look(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            try:
                self._look()
            except psutil.NoSuchProcess:
                return

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


def resident(pid: int | None = None) -> int:
    """Return the resident memory of a process (this one if None), in bytes."""
    return int(psutil.Process(pid).memory_info().rss)


# -- the frame of a benchmark ------------------------------------------------------------------


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--output", type=Path, metavar="FILE", help="write every value here, as JSON")
    return made


def note(message: str) -> None:
    """Tell how far the benchmark is, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def report(title: str, on: str, tables: Sequence[str], result: Any, output: Path | None) -> None:
    """Print the figures as Markdown, and write `result` to `output` if one was named."""
    command = " ".join(["python", *sys.argv])
    print(f"## {title}\n\n{on}\n\n`{command}`\n")
    print("\n\n".join(tables))
    if output is not None:
        record = {"title": title, "machine": on, "command": command, "result": result}
        output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def home() -> Path:
    """Return MEDQA_HOME, or end with a word on how to make one."""
    value = os.environ.get("MEDQA_HOME")
    if not value:
        raise SystemExit(
            "MEDQA_HOME names no folder. Set one up with: MEDQA_HOME=FOLDER medqa-tui setup --yes"
        )
    return Path(value)


def installed() -> tuple[Paths, Active]:
    """Return the folders of MEDQA_HOME and what is in use there, or end with a word on setup."""
    from medqa_tui.models.active import load_active
    from medqa_tui.paths import get_paths

    paths = get_paths()
    active = load_active(paths)
    if active is None:
        raise SystemExit(f"Nothing is set up in {paths.data}. Run: medqa-tui setup")
    return paths, active


def program() -> list[str]:
    """Return the command that starts the program: its script, or the module where there is none."""
    script = Path(sys.executable).with_name("medqa-tui")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "medqa_tui"]
