"""Whether hnswlib works on this machine, tried where a crash hurts nobody."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from medqa_tui.models.files import write_atomic

PROBE_FILE = "hnsw-probe.json"
_TIMEOUT_S = 60

# What the dense arm does: build, search, save, load, search again.
_SCRIPT = """
import os, tempfile
import hnswlib, numpy
vectors = numpy.random.default_rng(0).standard_normal((300, 48)).astype("float32")
index = hnswlib.Index(space="cosine", dim=48)
index.init_index(max_elements=300, M=16, ef_construction=100)
index.add_items(vectors, numpy.arange(300))
index.set_ef(64)
assert index.knn_query(vectors[:5], k=3)[0][:, 0].tolist() == [0, 1, 2, 3, 4]
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "probe.bin")
    index.save_index(path)
    again = hnswlib.Index(space="cosine", dim=48)
    again.load_index(path)
    again.set_ef(64)
    assert again.knn_query(vectors[:5], k=3)[0][:, 0].tolist() == [0, 1, 2, 3, 4]
"""


# Signals that come from outside and say nothing of hnswlib: Ctrl-C, a shutdown, a lack of memory.
_FROM_OUTSIDE = frozenset({"SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"})


class HnswProbe(NamedTuple):
    """Whether hnswlib works here, and if not, why, in words.

    Attributes:
        passing: Whether the trial itself did not come to an end, so that the next may succeed.
    """

    ok: bool
    reason: str
    passing: bool = False


def probe_hnswlib() -> HnswProbe:
    """Try hnswlib in a process of its own.

    It is built with `-march=native`: a copy from another CPU ends its process with an illegal
    instruction, which no `except` catches.
    """
    if importlib.util.find_spec("hnswlib") is None:
        return HnswProbe(False, "the package hnswlib is not installed")
    try:
        done = subprocess.run(
            # -P: nothing is imported from the user's working folder.
            [sys.executable, "-P", "-c", _SCRIPT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return HnswProbe(False, f"the trial could not be run: {error}", passing=True)
    if done.returncode == 0:
        return HnswProbe(True, "")
    if done.returncode < 0:
        name = _signal_name(-done.returncode)
        if name in _FROM_OUTSIDE:
            return HnswProbe(False, f"the trial was ended by {name}", passing=True)
        return HnswProbe(
            False,
            f"it ended with {name}: it was built for another CPU; reinstall it with"
            " HNSWLIB_NO_NATIVE=1 pip install --no-binary hnswlib --force-reinstall hnswlib",
        )
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    return HnswProbe(False, f"the trial failed: {last[0]}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def probe_once(folder: Path) -> HnswProbe:
    """Return the probe's outcome; it is run anew only when hnswlib or the CPU is another one.

    The outcome is kept in `folder`, unless the trial was cut short; where that cannot be written,
    it is just not kept.
    """
    build = hnswlib_build()
    path = folder / PROBE_FILE
    try:
        kept = json.loads(path.read_bytes())
        if kept["build"] == build:
            return HnswProbe(bool(kept["ok"]), str(kept["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    probe = probe_hnswlib()
    if probe.passing:
        return probe
    try:
        row = {"build": build, "ok": probe.ok, "reason": probe.reason}
        write_atomic(path, json.dumps(row).encode())
    except OSError:
        pass
    return probe


def hnswlib_build() -> str:
    """Return a mark of the installed hnswlib and of the CPU, without importing it."""
    spec = importlib.util.find_spec("hnswlib")
    if spec is None or spec.origin is None:
        return ""
    stat = Path(spec.origin).stat()
    parts = (spec.origin, stat.st_size, stat.st_mtime_ns, sys.version, platform.machine(), _cpu())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    """Return what the CPU can do, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return platform.processor()
