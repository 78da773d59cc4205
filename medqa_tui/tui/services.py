"""What the app needs from the core, in one value that tests can replace piece by piece."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from medqa_tui.backend import Backend
from medqa_tui.domain import Question
from medqa_tui.events import Event

if TYPE_CHECKING:
    from medqa_tui.assistant import Recorder
    from medqa_tui.config import Settings
    from medqa_tui.engine.status import EngineStatus
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.setup.events import SetupEvent
    from medqa_tui.setup.plan import SetupPlan
    from medqa_tui.setup.proposal import Better
    from medqa_tui.training.runs import RunReport


class AnswerStream(Protocol):
    """`assistant.answer`, or something with its shape."""

    def __call__(
        self,
        question: Question,
        backend: Backend,
        *,
        settings: Settings,
        recorder: Recorder | None = None,
        cancel: asyncio.Event | None = None,
    ) -> AsyncIterator[Event]: ...


@dataclass(frozen=True)
class Services:
    """The core as the app sees it. Each function may import what it needs when it is called.

    Attributes:
        load_settings: Blocking; reads the configuration.
        is_ready: Blocking; whether the profile is installed.
        open_backend: Blocking; gives the backend, without starting anything.
        open_recorder: Gives the recorder of a new session, or None if history is off; the
            function it is given hears of a write that failed.
        plan: Blocking; what setup would install.
        proposal: Blocking; a larger profile that fits this machine; None where it was not asked.
        run_setup: Blocking; installs, reporting each phase, until `cancel` is set.
        engine_status: Blocking; what the running engine says of itself, None where there is none.
        history: Gives the store of earlier questions, which opens its file when it is used; the
            function it is given hears, in any thread, of a file that was repaired.
        training_runs: Blocking; the trainings that are under way, then those that ended.
        stop_training: Blocking; asks a training to end.
        clock: Seconds, for the elapsed time on screen.
        now: Seconds since the epoch.
    """

    load_settings: Callable[[], Settings]
    is_ready: Callable[[Settings], bool]
    open_backend: Callable[[Settings], Backend]
    answer: AnswerStream
    open_recorder: Callable[[Settings, Callable[[str], None]], Recorder | None]
    plan: Callable[[Settings], SetupPlan]
    run_setup: Callable[[Settings, Callable[[SetupEvent], None], threading.Event], None]
    engine_status: Callable[[], EngineStatus | None]
    history: Callable[[Callable[[str], None]], HistoryStore]
    proposal: Callable[[Settings], Better | None] = lambda settings: None
    training_runs: Callable[[], tuple[RunReport, ...]] = lambda: ()
    stop_training: Callable[[RunReport], None] = lambda run: None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time


def core_services(profile: str | None = None, in_process: bool = False) -> Services:
    """Return the real thing. Nothing is imported before it is called.

    Args:
        profile: Overrides the profile of the configuration.
        in_process: Load the models in this process instead of the shared engine.
    """

    def load_settings() -> Settings:
        from medqa_tui.config import load_settings as load

        return load({"profile": profile} if profile else None)

    def open_backend(settings: Settings) -> Backend:
        from medqa_tui.engine.client import open_backend as open_
        from medqa_tui.paths import get_paths

        return open_(get_paths(), settings, in_process=in_process)

    return Services(
        load_settings=load_settings,
        is_ready=_is_ready,
        open_backend=open_backend,
        answer=_answer,
        open_recorder=_open_recorder,
        plan=_plan,
        proposal=_proposal,
        run_setup=_run_setup,
        engine_status=_engine_status,
        history=_history,
        training_runs=_training_runs,
        stop_training=_stop_training,
    )


def _is_ready(settings: Settings) -> bool:
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.runner import is_ready

    return is_ready(get_paths(), settings)


async def _answer(
    question: Question,
    backend: Backend,
    *,
    settings: Settings,
    recorder: Recorder | None = None,
    cancel: asyncio.Event | None = None,
) -> AsyncIterator[Event]:
    from medqa_tui.assistant import answer
    from medqa_tui.cancelling import closing

    answering = answer(question, backend, settings=settings, recorder=recorder, cancel=cancel)
    async with closing(answering) as events:
        async for event in events:
            yield event


def _open_recorder(settings: Settings, tell: Callable[[str], None]) -> Recorder | None:
    if not settings.history.enabled:
        return None
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.paths import get_paths

    store = HistoryStore(get_paths().history_db, tell, settings.history.retention_days)
    return store.recorder(store.new_session())


def _plan(settings: Settings) -> SetupPlan:
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.plan import make_plan
    from medqa_tui.setup.runner import find_profile

    return make_plan(find_profile(settings.profile, get_paths()), get_paths())


def _proposal(settings: Settings) -> Better | None:
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.proposal import find_better

    return None if settings.offline else find_better(settings.profile, get_paths())


def _engine_status() -> EngineStatus | None:
    from medqa_tui.engine.client import status
    from medqa_tui.paths import get_paths

    return status(get_paths())


def _history(tell: Callable[[str], None]) -> HistoryStore:
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.paths import get_paths

    return HistoryStore(get_paths().history_db, tell)


def _training_runs() -> tuple[RunReport, ...]:
    from medqa_tui.paths import get_paths
    from medqa_tui.training.runs import read_runs

    return read_runs(get_paths().trainings)


def _stop_training(run: RunReport) -> None:
    from medqa_tui.paths import get_paths
    from medqa_tui.training.runs import ask_to_stop

    ask_to_stop(get_paths().trainings, run)


def _run_setup(
    settings: Settings, on_event: Callable[[SetupEvent], None], cancel: threading.Event
) -> None:
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.events import SetupOptions
    from medqa_tui.setup.runner import run_setup

    options = SetupOptions(
        profile=settings.profile, offline=settings.offline, yes=True, dry_run=False
    )
    run_setup(options, get_paths(), settings, on_event, cancel)
