"""How an answer ends: whole, beside an emergency, cancelled, left by its listener, or broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from scripted_backend import GOOD, QUESTION, URGENT, Memory, ScriptedBackend, run

from medqa_tui import assistant
from medqa_tui.backend import GenerateEvent, GenerateRequest, GroundRequest, GroundResult
from medqa_tui.config import Settings
from medqa_tui.domain import AnswerStatus, Question, TriageLevel
from medqa_tui.errors import ExitCode
from medqa_tui.events import AnswerDone, Event, GenerationDone, SentenceChecked, Token, TriageFound
from medqa_tui.tui.services import AnswerStream, core_services


async def test_an_emergency_is_told_first_and_still_answered() -> None:
    backend = ScriptedBackend({"extractive": GOOD})
    events, answer = await run(backend, URGENT)
    assert isinstance(events[0], TriageFound)
    assert backend.asked == ["extractive"], "no model writes beside an emergency's advice"
    assert answer.status is AnswerStatus.EMERGENCY
    assert answer.exit_code == ExitCode.EMERGENCY
    assert answer.text == GOOD


async def test_a_crisis_never_reaches_a_backend() -> None:
    backend = ScriptedBackend({"auto": GOOD}, cannot_start=True)
    memory = Memory()
    _, answer = await run(backend, "I want to kill myself", memory=memory)
    assert answer.triage.level is TriageLevel.CRISIS
    assert answer.failure is None
    assert backend.searched == []
    assert memory.told == ["begin", "finish"]


async def test_an_emergency_outlives_a_broken_backend() -> None:
    backend = ScriptedBackend(cannot_start=True)
    _, answer = await run(backend, URGENT)
    assert answer.status is AnswerStatus.EMERGENCY
    assert answer.triage.advice
    assert answer.exit_code == ExitCode.EMERGENCY


async def test_a_backend_that_cannot_start_is_a_failed_answer_in_words() -> None:
    _, answer = await run(ScriptedBackend(cannot_start=True))
    assert answer.status is AnswerStatus.FAILED
    assert answer.failure
    assert answer.failure.title == "The engine did not start."
    assert answer.exit_code == ExitCode.FAILURE


async def test_a_failure_while_writing_keeps_what_was_checked() -> None:
    memory = Memory()
    _, answer = await run(
        ScriptedBackend({"auto": f"{GOOD} And more "}, fails_while_writing=True), memory=memory
    )
    assert answer.status is AnswerStatus.FAILED
    assert answer.text == GOOD
    assert memory.finished is answer


async def test_cancel_ends_the_draft_and_keeps_the_checked_part() -> None:
    cancel = asyncio.Event()
    backend = ScriptedBackend({"auto": f"{GOOD} {GOOD} {GOOD}"})
    events: list[Event] = []
    question = Question(QUESTION, "t1")
    async for event in assistant.answer(question, backend, settings=Settings(), cancel=cancel):
        events.append(event)
        if isinstance(event, SentenceChecked):
            cancel.set()
    last = events[-1]
    assert isinstance(last, AnswerDone)
    assert last.answer.status is AnswerStatus.CANCELLED
    assert last.answer.text == GOOD
    assert last.answer.exit_code == ExitCode.INTERRUPTED


async def test_cancel_does_not_wait_for_a_check_that_takes_long() -> None:
    class SlowToCheck(ScriptedBackend):
        async def ground(self, request: GroundRequest) -> GroundResult:
            cancel.set()
            await asyncio.Event().wait()
            raise AssertionError

    cancel = asyncio.Event()
    backend = SlowToCheck({"auto": f"{GOOD} And more."})
    async with asyncio.timeout(30):
        _, answer = await run(backend, cancel=cancel)
    assert answer.status is AnswerStatus.CANCELLED
    assert answer.sentences == ()
    assert backend.drafts_ended == 1


@pytest.mark.parametrize(
    "answering", [assistant.answer, core_services().answer], ids=["core", "app"]
)
async def test_a_listener_that_goes_away_is_recorded_and_ends_thedraft(
    answering: AnswerStream,
) -> None:
    memory, backend = Memory(), ScriptedBackend({"auto": GOOD})
    question = Question(QUESTION, "t1")
    stream = answering(question, backend, settings=Settings(), recorder=memory)
    async for event in stream:
        if isinstance(event, Token):
            break
    await stream.aclose()  # type: ignore[attr-defined]
    # By now, and not whenever the garbage collector comes to it.
    assert backend.drafts_ended == 1
    assert memory.finished
    assert memory.finished.status is AnswerStatus.CANCELLED


async def test_a_bug_on_the_way_is_recorded_as_a_failure_with_what_was_checked() -> None:
    class Broken(ScriptedBackend):
        async def draft(
            self, request: GenerateRequest, cancel: asyncio.Event
        ) -> AsyncIterator[GenerateEvent]:
            async for event in super().draft(request, cancel):
                if isinstance(event, GenerationDone):
                    raise RuntimeError
                yield event

    memory = Memory()
    with pytest.raises(RuntimeError):
        await run(Broken({"auto": f"{GOOD} And more"}), memory=memory)
    assert memory.finished
    assert (memory.finished.status, memory.finished.text) == (AnswerStatus.FAILED, GOOD)


async def test_the_question_is_recorded_before_anything_is_written() -> None:
    memory = Memory()
    await run(ScriptedBackend({"auto": GOOD}), memory=memory)
    assert memory.told == ["begin", f"partial {GOOD}", "finish"]
