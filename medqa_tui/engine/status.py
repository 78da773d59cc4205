"""What the engine says of itself, and what two engines are compared by."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from medqa_tui import __version__
from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import REMOTE

if TYPE_CHECKING:
    from pathlib import Path

    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


class EngineState(StrEnum):
    """What the engine as a whole is doing."""

    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    UNKNOWN = "unknown"


class PartState(StrEnum):
    """How far one part of the engine is; unloaded is what nobody has wanted yet."""

    UNLOADED = "unloaded"
    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A running engine, as it describes itself.

    Attributes:
        doing: What it does now, in words.
        device: Where the model runs, once it is loaded.
        parts: State of each part, in the order they are loaded.
        problem: Why a part could not be loaded, or empty.
        queue: Answers that wait for their turn.
        idle_seconds: Seconds without work.
        keep_alive: Seconds without work after which it leaves; None is never.
        memory: Main memory in bytes.
        gpu_memory: Memory on the GPU in bytes, or None without one.
        fingerprint: What it was started with; see `fingerprint`.
    """

    version: str
    pid: int
    state: EngineState = EngineState.UNKNOWN
    doing: str = ""
    profile: str = ""
    device: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    busy: bool = False
    queue: int = 0
    idle_seconds: float = 0.0
    keep_alive: float | None = None
    uptime: float = 0.0
    memory: int = 0
    gpu_memory: int | None = None
    fingerprint: str = ""

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the parts that are ready."""
        return tuple(name for name, state in self.parts.items() if state == PartState.READY)

    def serves(self, want: str) -> bool:
        """Return whether this engine can be used by a front end with the fingerprint `want`."""
        leaving = self.state is EngineState.STOPPING
        return self.version == __version__ and self.fingerprint == want and not leaving

    def to_record(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, row: Any) -> EngineStatus:
        """Read a status, perhaps of another version: what is missing or new is passed over.

        Raises:
            ValueError: It is not an engine's status at all.
        """
        if not isinstance(row, dict):
            raise ValueError("not the status of an engine")
        if not isinstance(row.get("pid"), int) or not isinstance(row.get("version"), str):
            raise ValueError("not the status of an engine")
        known = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        state = known.get("state")
        members = set(EngineState)
        known["state"] = EngineState(state) if state in members else EngineState.UNKNOWN
        return cls(**known)


def engine_overrides(settings: Settings) -> dict[str, object]:
    """Return the settings that a front end hands to the engine it starts, by dotted key."""
    # The server's key is not handed over: a command line can be read by others.
    remote: dict[str, object] = {
        "offline": settings.offline,
        "remote.url": settings.remote.url,
        "remote.model": settings.remote.model,
        "remote.confirmed": settings.remote.confirmed,
    }
    return (remote if settings.profile == REMOTE else {}) | {
        "profile": settings.profile,
        "engine.device": settings.engine.device,
        "engine.threads": settings.engine.threads,
        "engine.keep_alive": settings.engine.keep_alive,
        "engine.queue": settings.engine.queue,
        "engine.watchdog": settings.engine.watchdog,
        "retrieval.pool": settings.retrieval.pool,
        "retrieval.rerank_depth": settings.retrieval.rerank_depth,
        "retrieval.fusion": settings.retrieval.fusion,
    }


def fingerprint(paths: Paths, settings: Settings, active: Active | None = None) -> str:
    """Return a short text that changes when an engine with these settings and files would.

    It covers the version, the settings handed over and what is installed and in use for the
    profile, so that a front end can tell whether a running engine is the one that it would start.

    Args:
        active: What is in use; by default what active.json says.
    """
    active = active or _active(paths, settings)
    names = asdict(active) if active else None
    given = json.dumps([__version__, engine_overrides(settings), names], sort_keys=True)
    digest = hashlib.sha256(given.encode())
    for path in _identifying_files(paths, active):
        digest.update(b"\0")
        with contextlib.suppress(OSError):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _active(paths: Paths, settings: Settings) -> Active | None:
    from medqa_tui.engine.installed import require_active

    try:
        return require_active(paths, settings)
    except MedQAError:
        return None


def _identifying_files(paths: Paths, active: Active | None) -> list[Path]:
    """Return the small files that tell which models and which index are in use."""
    from medqa_tui.models.records import RECORD_NAME
    from medqa_tui.models.shipped import CARD_NAME

    if active is None:
        return []
    records = [folder / RECORD_NAME for folder in active.model_dirs(paths)]
    # What is trained anew under the same name has another card.
    adapters = [
        folder for folder in (active.adapter_dir(paths), active.reranker_dir(paths)) if folder
    ]
    cards = [folder / name for folder in adapters for name in (CARD_NAME, RECORD_NAME)]
    return [*records, *cards, active.index_dir(paths) / "manifest.json"]
