"""What front ends see of an engine that is killed, hangs, crashes or runs out of memory.

The faults are real signals, or are injected from outside the program: see
scripts/bench/engine_faults.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from medqa_tui import __version__, assistant
from medqa_tui.backend import GenerateRequest, RetrieveRequest
from medqa_tui.cancelling import first_of
from medqa_tui.domain import AnswerStatus, Question
from medqa_tui.engine import connect, lifecycle, transport
from medqa_tui.engine.client import EngineBackend
from medqa_tui.errors import EngineError
from medqa_tui.events import (
    AnswerDone,
    BackendFailed,
    Event,
    GenerationDone,
    Notice,
    SentenceChecked,
    StatusChanged,
    Token,
)
from medqa_tui.history.store import HistoryStore
from medqa_tui.models.active import load_active
from medqa_tui.paths import Paths

from .engines import (
    DEADLINE_S,
    QUESTION,
    SETTINGS,
    everything,
    evidence_of,
    long_draft,
    ready,
    settings_with,
    wait_for,
)

FAULTS = Path(__file__).parents[2] / "scripts" / "bench" / "engine_faults"
WATCHED = settings_with(watchdog=3)
Order = Callable[[str], None]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Return what makes the engines that are started from now on fail once, at a stage."""
    monkeypatch.setenv("ENGINE_FAULT_MARKS", str(tmp_path))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(FAULTS), before))))
    return lambda what: monkeypatch.setenv("ENGINE_FAULT", what)


@pytest.fixture
async def backend(paths: Paths) -> AsyncIterator[EngineBackend]:
    made = EngineBackend(paths, SETTINGS)
    yield made
    await made.aclose()


def short(turn: str = "t") -> GenerateRequest:
    from .test_engine_local import EVIDENCE

    return GenerateRequest(turn, QUESTION, EVIDENCE, (), "model", 12)


def restarts(events: list[Event]) -> list[str]:
    found = [event for event in events if isinstance(event, Notice)]
    return [event.message for event in found if event.code == "engine_restarted"]


async def draft(backend: EngineBackend, request: GenerateRequest) -> list[Event]:
    await everything(backend.prepare(request.turn))
    return await everything(backend.generate(request, asyncio.Event()))


async def answers_again(backend: EngineBackend) -> None:
    """See that the next question is answered as if nothing had been."""
    events = await draft(backend, short("next"))
    assert restarts(events) == []
    assert isinstance(events[-1], GenerationDone), events


async def test_killed_at_its_start_it_is_started_once_more(
    backend: EngineBackend, fault: Order
) -> None:
    fault("start:KILL")
    said = [event.message for event in await everything(backend.prepare("t"))]
    assert said == [
        "Starting the engine.",
        "The engine ended (killed, often for lack of memory (SIGKILL)); starting it again.",
    ]
    assert connect.status(backend.paths) is not None


async def test_an_engine_that_crashes_at_every_start_is_given_up(
    backend: EngineBackend, fault: Order
) -> None:
    fault("start:SEGV!")
    with pytest.raises(EngineError) as caught:
        await everything(backend.prepare("t"))
    assert caught.value.title == "The engine ended twice before it could answer."
    assert "a crash in native code (SIGSEGV)" in caught.value.detail.lower().replace(
        "sigsegv", "SIGSEGV"
    )
    assert str(transport.log_file(backend.paths)) in caught.value.detail
    assert not transport.engine_is_alive(backend.paths)


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ("load:ILL", "a crash in native code (SIGILL)"),
        ("first:hang", "nothing moved for 3 s while writing an answer"),
        ("first:broken", "the GPU stopped working"),
    ],
)
async def test_a_draft_that_nothing_was_seen_of_is_written_again(
    paths: Paths, fault: Order, stage: str, why: str
) -> None:
    fault(stage)
    backend = EngineBackend(paths, WATCHED)
    events = await draft(backend, short())
    assert restarts(events) == [f"The engine ended ({why}); starting it again."]
    assert isinstance(events[-1], GenerationDone), events
    log = transport.log_file(paths).read_text()
    assert "diabetes" not in log
    await backend.aclose()


async def test_a_load_that_hangs_is_ended_and_tried_again(paths: Paths, fault: Order) -> None:
    fault("load:hang")
    backend = EngineBackend(paths, WATCHED)
    events = await draft(backend, short())
    (why,) = restarts(events)
    assert "nothing moved for 3 s while loading the language model" in why
    assert isinstance(events[-1], GenerationDone), events
    log = transport.log_file(paths).read_text()
    assert "in strike" in log, "where it hung"
    await backend.aclose()


async def test_a_crash_in_mid_answer_is_named_and_the_next_one_works(
    backend: EngineBackend,
) -> None:
    await everything(backend.prepare("t"))
    status = connect.status(backend.paths)
    assert status is not None
    last: Event | None = None
    async for event in backend.generate(long_draft(short().evidence), asyncio.Event()):
        if isinstance(event, Token) and not isinstance(last, Token):
            # As native code does that gives up.
            os.kill(status.pid, signal.SIGABRT)
        last = event
    assert isinstance(last, BackendFailed), last
    assert last.failure.title == "The engine ended while it was answering."
    assert last.failure.detail == "A crash in native code (SIGABRT)."
    assert not list(backend.paths.run.glob("core*"))
    await answers_again(backend)


async def test_a_search_is_repeated_once_and_not_twice(
    backend: EngineBackend, fault: Order
) -> None:
    fault("retrieve:KILL!")
    await everything(backend.prepare("t"))
    events = await everything(
        backend.retrieve(RetrieveRequest("t", QUESTION, mode="bm25"), asyncio.Event())
    )
    assert len(restarts(events)) == 1
    last = events[-1]
    assert isinstance(last, BackendFailed)
    assert "killed" in last.failure.detail.lower()


async def test_killed_while_it_checks_history_keeps_what_was_said(
    paths: Paths, backend: EngineBackend, fault: Order
) -> None:
    # The first engine dies at the second check, which a second engine repeats; so does that one.
    fault("check:KILL!:2")
    quoting = SETTINGS.model_copy(
        update={"answer": SETTINGS.answer.model_copy(update={"generator": "extractive"})}
    )
    store = HistoryStore(paths.history_db)
    session = store.new_session()
    events = await everything(
        assistant.answer(
            Question(QUESTION, "t"), backend, settings=quoting, recorder=store.recorder(session)
        )
    )
    kept = [event.sentence.text for event in events if isinstance(event, SentenceChecked)]
    last = events[-1]
    assert isinstance(last, AnswerDone)
    assert last.answer.status is AnswerStatus.FAILED
    assert kept
    (entry,) = store.list(10)
    assert entry.status is AnswerStatus.FAILED
    assert entry.text.startswith(kept[0])
    store.close()


async def test_without_memory_it_says_so_and_lives_on(backend: EngineBackend, fault: Order) -> None:
    # Both attempts at the first question, and one at the second.
    fault("first:oom!:1-3")
    last = (await draft(backend, short()))[-1]
    assert isinstance(last, BackendFailed)
    assert last.failure.title == "There is not enough memory for this answer."
    first = ready(backend.paths)
    events = await draft(backend, short("next"))
    codes = [event.code for event in events if isinstance(event, Notice)]
    assert codes == ["context_shrunk"]
    assert isinstance(events[-1], GenerationDone), events
    assert ready(backend.paths).pid == first.pid


async def test_a_suspended_engine_goes_on_where_it_was(backend: EngineBackend) -> None:
    await everything(backend.prepare("t"))
    request = long_draft(await evidence_of(backend))
    status = ready(backend.paths)
    process = psutil.Process(status.pid)
    cancel, seen = asyncio.Event(), 0
    async for event in backend.generate(request, cancel):
        seen += isinstance(event, Token)
        if seen == 1:
            process.suspend()
            wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
            process.resume()
        if seen == 3:
            cancel.set()
        assert not isinstance(event, BackendFailed), event
    assert seen == 3
    assert ready(backend.paths).pid == status.pid


async def test_an_engine_that_stays_suspended_is_replaced(paths: Paths) -> None:
    backend = EngineBackend(paths, WATCHED)
    await everything(backend.prepare("t"))
    status = ready(paths)
    os.kill(status.pid, signal.SIGSTOP)
    events = await everything(backend.generate(short(), asyncio.Event()))
    said = [event.message for event in events if isinstance(event, StatusChanged)]
    assert "The engine does not respond; waiting for it." in said
    (why,) = restarts(events)
    assert "it did not respond for" in why
    assert isinstance(events[-1], GenerationDone), events
    assert not psutil.pid_exists(status.pid)
    await backend.aclose()


async def test_waiting_for_a_suspended_engine_can_be_cancelled(paths: Paths) -> None:
    backend = EngineBackend(paths, SETTINGS)
    await everything(backend.prepare("t"))
    status = connect.status(paths)
    assert status is not None
    os.kill(status.pid, signal.SIGSTOP)
    cancel = asyncio.Event()

    async def wait() -> None:
        async for _ in backend.prepare("t2"):
            pass

    task = asyncio.ensure_future(first_of(wait(), cancel))
    cancel.set()
    assert await task is False
    os.kill(status.pid, signal.SIGCONT)
    await everything(backend.prepare("t3"))
    again = connect.status(paths)
    assert again is not None
    assert again.pid == status.pid
    await backend.aclose()


async def test_a_slow_answer_is_no_hang(paths: Paths) -> None:
    backend = EngineBackend(paths, settings_with(watchdog=1))
    await everything(backend.prepare("t"))
    request = long_draft(await evidence_of(backend))
    before = ready(paths)
    cancel = asyncio.Event()
    async for event in backend.generate(request, cancel):
        assert not isinstance(event, BackendFailed), event
        now = connect.status(paths) if isinstance(event, Token) else None
        if now and now.uptime > before.uptime + 2.5:
            cancel.set()
    assert ready(paths).pid == before.pid
    await backend.aclose()


def test_an_engine_of_an_older_version_is_asked_to_leave(paths: Paths, fault: Order) -> None:
    fault("none:version")
    # No front end of this version would call it its own, so it is started by hand.
    old = subprocess.Popen([sys.executable, "-m", "medqa_tui.engine"])
    try:
        wait_for(lambda: connect.status(paths))
        fault("none:none")
        said: list[str] = []
        status = lifecycle.ensure_running(paths, SETTINGS, said.append)
        assert status.version == __version__
        assert said == ["Replacing an engine of version 0.0.1.", "Starting the engine."]
        assert old.wait(DEADLINE_S) == 0
    finally:
        old.kill()


async def test_another_profile_waits_for_the_answer_of_this_one(paths: Paths) -> None:
    active = load_active(paths)
    assert active
    replace(active, profile="flashcards").write(paths)
    mine = EngineBackend(paths, SETTINGS)
    other = EngineBackend(paths, SETTINGS.model_copy(update={"profile": "flashcards"}))
    await everything(mine.prepare("t1"))
    cancel, said = asyncio.Event(), list[str]()

    async def wait() -> None:
        async for event in other.prepare("t2"):
            said.append(event.message)
            if "finish an answer" in event.message:
                cancel.set()

    waiting = None
    async for event in mine.generate(long_draft(await evidence_of(mine)), cancel):
        if isinstance(event, Token) and waiting is None:
            waiting = asyncio.ensure_future(wait())
        assert not isinstance(event, BackendFailed), event
    assert waiting is not None
    await waiting
    assert said == [
        "Replacing the engine of the profile starter.",
        "Waiting for it to finish an answer.",
        "Starting the engine.",
    ]
    status = connect.status(paths)
    assert status is not None
    assert status.profile == "flashcards"
    for backend in (mine, other):
        await backend.aclose()
