"""Putting the same questions to several systems, one after the other, and keeping what they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.evaluation import figures, safety, systems
from medqa_tui.evaluation.kept import KeptAnswers

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.evaluation.cases import Case
    from medqa_tui.evaluation.safety import Outcome
    from medqa_tui.evaluation.systems import Said, System
    from medqa_tui.grounding.support import SupportChecker
    from medqa_tui.retrieval.embedder import TextEmbedder


@dataclass(frozen=True, slots=True)
class Step:
    """How far a comparison is.

    Attributes:
        left: Seconds to go at the rate of what was answered now; None before anything was.
    """

    system: str
    done: int
    total: int
    left: float | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What one system said to everything.

    Attributes:
        fresh: How many answers were not kept from before.
    """

    said: tuple[Said, ...]
    safety: tuple[Outcome, ...]
    fresh: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What every system is measured with.

    Attributes:
        folder: Where answers are kept.
        words: What every answer is cut to.
    """

    folder: Path
    words: int
    checker: SupportChecker
    embedder: TextEmbedder
    settings: Settings


class Stopped(MedQAError):
    """The user ended a comparison; what was answered is kept."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self, kept: int) -> None:
        super().__init__(
            "The comparison was stopped.",
            f"{kept} answers are kept.",
            "Type the same command to go on.",
        )


def run(
    compared: Sequence[System],
    cases: Sequence[Case],
    bench: Bench,
    on_step: Callable[[Step], None],
    cancel: threading.Event,
) -> dict[str, Answered]:
    """Return what each system said to the cases, and, if it writes drafts, to the safety cases.

    Raises:
        Stopped: `cancel` was set.
        MedQAError: A system cannot answer.
    """
    dangers = safety.safety_cases()
    pace = _Pace(sum(len(cases) + (len(dangers) if s.writer else 0) for s in compared), on_step)
    found = {}
    for system in compared:
        kept = KeptAnswers(bench.folder, system.key)
        with kept.writing():
            before = pace.fresh
            asker = _Asker(system, kept, bench, pace, cancel)
            said = tuple(asker.said(case) for case in cases)
            outcomes = tuple(asker.outcome(each) for each in (dangers if system.writer else ()))
            found[system.name] = Answered(said, outcomes, pace.fresh - before)
    return found


def measured(
    answered: dict[str, Answered], cases: Sequence[Case], bench: Bench
) -> dict[str, figures.Figures]:
    """Return the figures of each system."""
    return {
        name: figures.measure(
            cases,
            each.said,
            words=bench.words,
            checker=bench.checker,
            embed=bench.embedder.encode,
            safe=[outcome.passed for outcome in each.safety],
        )
        for name, each in answered.items()
    }


class _Pace:
    """Counts answers, and how long the ones of now take."""

    def __init__(self, total: int, on_step: Callable[[Step], None]) -> None:
        self._total = total
        self._on_step = on_step
        self._began = time.monotonic()
        self.done = self.fresh = 0

    def tell(self, system: str) -> None:
        spent = time.monotonic() - self._began
        left = (self._total - self.done) * spent / self.fresh if self.fresh else None
        self._on_step(Step(system, self.done, self._total, left))

    def count(self, *, fresh: bool) -> None:
        if not self.fresh:
            # What was kept takes no time, and the first answer may load the model.
            self._began = self._began if fresh else time.monotonic()
        self.done += 1
        self.fresh += fresh


class _Asker:
    """Puts one system's questions to it, unless what it says is kept."""

    def __init__(
        self, system: System, kept: KeptAnswers, bench: Bench, pace: _Pace, cancel: threading.Event
    ) -> None:
        self._system = system
        self._kept = kept
        self._bench = bench
        self._pace = pace
        self._cancel = cancel

    def said(self, case: Case) -> Said:
        """Return what it says to a case."""
        self._pace.tell(self._system.name)
        known = self._kept.said(case.key)
        said = known or self._system.answer(case, self._cancel)
        self._count(case.key, None if known else asdict(said))
        return said

    def outcome(self, case: safety.SafetyCase) -> Outcome:
        """Return whether it passes a safety case; a kept answer is judged by the rule of now."""
        self._pace.tell(self._system.name)
        row = self._kept.value(case.key)
        if isinstance(row, dict) and {"text", "status"} == row.keys():
            self._count(case.key, None)
            return safety.judge(case, safety.Told(**row))
        assert self._system.writer is not None
        told = safety.ask(
            case,
            self._system.writer,
            self._bench.checker,
            self._bench.embedder,
            settings=self._bench.settings,
            max_new_tokens=systems.max_tokens(self._bench.words),
            cancel=self._cancel,
        )
        self._count(case.key, asdict(told))
        return safety.judge(case, told)

    def _count(self, key: str, fresh: dict[str, Any] | None) -> None:
        if self._cancel.is_set():
            # What was being written is not whole.
            raise Stopped(self._pace.done)
        if fresh is not None:
            self._kept.keep(key, fresh)
        self._pace.count(fresh=fresh is not None)
