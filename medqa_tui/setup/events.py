"""What setup is asked, what it reports on the way, and what it ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medqa_tui.setup.plan import SetupPlan


class Phase(StrEnum):
    """The phases of setup, in their order."""

    PREFLIGHT = "preflight"
    DOWNLOAD = "download"
    VERIFY = "verify"
    QUANTIZE = "quantize"
    INGEST = "ingest"
    INDEX = "index"
    SELF_TEST = "self-test"
    ACTIVATE = "activate"


class Chore(StrEnum):
    """What a worker does that is no phase of a setup."""

    PRUNE = "prune"


class PhaseState(StrEnum):
    """Where a phase is."""

    STARTED = "started"
    PROGRESS = "progress"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SetupEvent:
    """A phase moved on.

    Attributes:
        done: How much of `total` is behind us, in `unit`; None where that is not known.
        unit: `bytes`, `passages`, `percent`, or empty.
    """

    phase: Phase
    state: PhaseState
    message: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """What setup may do.

    Attributes:
        profile: Which profile; the configured one if empty.
        base: Public id of its generator, where it offers several; empty for its own.
        source: A folder that holds everything; nothing is fetched then.
        offline: Fetch nothing.
        yes: The plan was agreed to, so a front end need not ask.
        dry_run: Only say what would be done.
    """

    profile: str = ""
    offline: bool = False
    yes: bool = False
    dry_run: bool = False
    base: str = ""
    source: Path | None = None


@dataclass(frozen=True, slots=True)
class SetupReport:
    """How setup ended.

    Attributes:
        plan: What there was to do when it began.
        changed: Whether anything was done.
        ready: Whether the profile can answer now.
        findings: What preflight found, each as one sentence; empty when there was nothing to do.
        warnings: Those of them that the user should know about.
    """

    plan: SetupPlan
    changed: bool
    ready: bool
    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


OnEvent = Callable[[SetupEvent], None]
