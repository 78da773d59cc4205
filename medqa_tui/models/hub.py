"""Fetching a repository of the model hub, in a child process that can be killed at any moment.

What arrived stays beside the target until all of it is there and verified; only then does the
target appear, by one rename. The next run goes on with the same commit, file by file and byte by
byte.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medqa_tui.errors import DownloadError
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.child import Ended, Message, error_of, run_child
from medqa_tui.models.snapshot import Snapshot, SnapshotFile
from medqa_tui.paths import ensure

__all__ = [
    "Patience",
    "Snapshot",
    "SnapshotFile",
    "Transfer",
    "download_snapshot",
    "downloaded",
    "hub_refuses",
    "note_file",
    "remove_download",
]

# The child takes its settings from the environment, and tells the hub nothing but its version.
_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DO_NOT_TRACK": "1",
    # Plain ranges can go on where they stopped, and pass through mirrors and proxies.
    "HF_HUB_DISABLE_XET": "1",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download keeps trying.

    Attributes:
        retries: How often a request that failed for a passing reason is made again.
        wait: Seconds before the first of those; each further one waits twice as long.
        longest: Seconds that it waits at most, whatever the hub asks for.
        timeout: Seconds without a byte until a connection counts as lost.
        stall: Seconds without any news until the child is killed.
    """

    retries: int = 5
    wait: float = 1.0
    longest: float = 60.0
    timeout: float = 30.0
    stall: float = 300.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a download is, in bytes; `file` is the largest that is not whole yet."""

    message: str
    done: int
    total: int
    file: str = ""
    file_done: int = 0
    file_total: int = 0


def download_snapshot(
    source: HubSource,
    into: Path,
    on_progress: Callable[[Transfer], None] | None = None,
    cancel: threading.Event | None = None,
    *,
    again: str = "medqa-tui setup",
    patience: Patience | None = None,
) -> Snapshot:
    """Download the files of `source` into the folder `into`, which appears whole or not at all.

    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are honoured, as in huggingface_hub.

    Args:
        again: The command that goes on after a failure; it ends the hints.

    Returns:
        The commit that was fetched, and its files.

    Raises:
        DownloadError: The hub refused, broke off, or sent something else.
        MedQAError: The disk is full, or cannot be written.
        Cancelled: `cancel` was set; what arrived is kept.
    """
    found = downloaded(into)
    if found is not None:
        return found
    shutil.rmtree(into, ignore_errors=True)
    patience = patience or Patience()
    job = {
        "source": asdict(source),
        "into": str(into),
        "staging": str(ensure(_staging(into))),
        "patience": asdict(patience),
        "again": again,
    }
    ended = _run_worker(job, patience.stall, on_progress, cancel)
    found = downloaded(into)
    if found is None:
        why = "It said nothing for too long." if ended.stalled else f"It ended with {ended.code}."
        raise DownloadError(
            "The download stopped.",
            f"{source.repo}: {why}",
            f"{again} (it goes on where it stopped)",
        )
    return found


def _run_worker(
    job: dict[str, Any],
    stall: float,
    on_progress: Callable[[Transfer], None] | None,
    cancel: threading.Event | None,
) -> Ended:
    """Have the child do `job`; returns how it ended.

    Raises:
        MedQAError: What it said went wrong.
    """
    failures: list[Message] = []

    def on_message(message: Message) -> None:
        if message["type"] == "error":
            failures.append(message)
        elif message["type"] == "progress" and on_progress is not None:
            values = {key: value for key, value in message.items() if key != "type"}
            on_progress(Transfer(**values))

    ended = run_child(
        ["medqa_tui.models.hub_worker", json.dumps(job)],
        errors=subprocess.DEVNULL,
        env={**os.environ, **_ENVIRONMENT},
        on_message=on_message,
        cancel=cancel,
        stall_seconds=stall,
    )
    if failures:
        raise error_of(failures[0])
    return ended


def downloaded(into: Path) -> Snapshot | None:
    """Return what `into` holds if it was downloaded whole; looks at names and sizes."""
    try:
        snapshot = Snapshot.from_json(note_file(into).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    for file in snapshot.files:
        path = into / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return None
    return snapshot


def remove_download(into: Path) -> None:
    """Delete a download and everything that was kept beside it."""
    shutil.rmtree(_staging(into), ignore_errors=True)
    shutil.rmtree(into, ignore_errors=True)
    note_file(into).unlink(missing_ok=True)


def hub_refuses(source: HubSource, timeout: float = 5.0) -> str:
    """Return why the hub would not hand over `source` now, in a few words; empty if it would.

    Asks once, waits at most `timeout` seconds, and sends no token.
    """
    import httpx2

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        url = f"{address}/api/{source.kind}s/{source.repo}"
        answer = httpx2.get(url, timeout=timeout, follow_redirects=True)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{address}: {error or type(error).__name__}"
    return "" if answer.is_success else f"status {answer.status_code}"


def _staging(into: Path) -> Path:
    return into.with_name(f".{into.name}.partial")


def note_file(into: Path) -> Path:
    """Return the file beside `into` that says what it holds."""
    return into.with_name(f".{into.name}.snapshot.json")
