"""The use case, step by step: a scripted generator, and the real gate, checker and bookkeeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from medqa_tui import assistant
from medqa_tui.backend import (
    FELL_TO_EXTRACTIVE,
    GenerateEvent,
    GenerateRequest,
    GroundRequest,
    GroundResult,
    RetrieveEvent,
    RetrieveRequest,
)
from medqa_tui.config import Settings
from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Passage,
    Question,
    Scores,
    Support,
    TokenCounts,
    Triage,
    TriageLevel,
    Turn,
)
from medqa_tui.errors import EngineError, ExitCode
from medqa_tui.events import (
    AnswerDone,
    BackendFailed,
    DraftDropped,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    SentenceChecked,
    StatusChanged,
    Token,
    TriageFound,
)
from medqa_tui.grounding.support import SupportChecker
from medqa_tui.tui.services import AnswerStream, core_services

PASSAGE = Passage(
    id="starter:type-2-diabetes-symptoms#0",
    corpus="starter",
    document="type-2-diabetes-symptoms",
    title="Type 2 diabetes",
    question="What are the symptoms of type 2 diabetes?",
    text="Type 2 diabetes often causes increased thirst and frequent urination. "
    "Some people feel very tired or have blurred vision.",
)
EVIDENCE = (Evidence(1, PASSAGE),)
GOOD = "Type 2 diabetes often causes increased thirst and frequent urination. [1]"
TALK = "The answer to this question lies within the box provided. [1]"


@dataclass
class ScriptedBackend:
    """Says what it is told to; checks sentences with the real checker."""

    drafts: dict[str, str] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = EVIDENCE
    relevant: bool = True
    finish: str = "stop"
    fails_while_writing: bool = False
    cannot_start: bool = False
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    read: list[tuple[int, ...]] = field(default_factory=list)
    tokens_sent: int = 0
    drafts_ended: int = 0
    on_token: asyncio.Event | None = None

    async def prepare(self, turn: str) -> AsyncIterator[StatusChanged | Notice]:
        if self.cannot_start:
            raise EngineError("The engine did not start.", "It ended with signal 9.", "doctor")
        yield StatusChanged(turn, "engine", "ready")

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncIterator[RetrieveEvent]:
        self.queries.append(request.query)
        yield EvidenceFound(request.turn, self.evidence, request.query, provisional=True)
        yield EvidenceFound(request.turn, self.evidence, request.query, relevant=self.relevant)

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        self.asked.append(request.generator)
        self.read.append(tuple(item.n for item in request.evidence))
        try:
            async for event in self._draft(request, cancel):
                yield event
        finally:
            self.drafts_ended += 1

    async def _draft(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        text = self.drafts[request.generator]
        kind = GeneratorKind.MODEL if request.generator == "auto" else GeneratorKind.EXTRACTIVE
        for word in text.split(" "):
            await asyncio.sleep(0)
            if cancel.is_set():
                break
            self.tokens_sent += 1
            yield Token(request.turn, word + " ")
            if self.on_token:
                self.on_token.set()
        if self.fails_while_writing:
            yield BackendFailed(request.turn, Failure("The engine stopped.", "", "Ask again."))
            return
        ended = self.finish if kind is GeneratorKind.MODEL else "stop"
        finish = "cancelled" if cancel.is_set() else ended
        info = ModelInfo("starter", generator=kind)
        counts = TokenCounts(10, self.tokens_sent)
        yield GenerationDone(request.turn, text, kind, info, counts, finish)  # type: ignore[arg-type]

    async def ground(self, request: GroundRequest) -> GroundResult:
        self.read.append(tuple(item.n for item in request.evidence))
        return SupportChecker().check(request)

    async def aclose(self) -> None: ...


@dataclass
class Memory:
    """A recorder that remembers the order of what it was told."""

    told: list[str] = field(default_factory=list)
    finished: Answer | None = None

    def begin(self, question: Question, triage: Triage) -> None:
        self.told.append("begin")

    def partial(self, turn: str, text: str) -> None:
        self.told.append(f"partial {text}")

    def finish(self, turn: str, answer: Answer) -> None:
        self.told.append("finish")
        self.finished = answer


async def run(
    backend: ScriptedBackend,
    text: str = "What are the symptoms of type 2 diabetes?",
    context: tuple[Turn, ...] = (),
    memory: Memory | None = None,
    cancel: asyncio.Event | None = None,
) -> tuple[list[Event], Answer]:
    events = [
        event
        async for event in assistant.answer(
            Question(text, "t1", context),
            backend,
            settings=Settings(),
            recorder=memory,
            cancel=cancel,
        )
    ]
    last = events[-1]
    assert isinstance(last, AnswerDone)
    return events, last.answer


async def test_evidence_comes_before_tokens_and_the_answer_last() -> None:
    events, answer = await run(ScriptedBackend({"auto": GOOD}))
    kinds = [type(event) for event in events]
    assert kinds.index(EvidenceFound) < kinds.index(Token) < kinds.index(SentenceChecked)
    assert kinds[-1] is AnswerDone
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.text == GOOD
    assert answer.sentences[0].citations == (1,)
    assert answer.sentences[0].support is Support.SUPPORTED
    assert answer.model.generator is GeneratorKind.MODEL
    assert answer.exit_code == ExitCode.OK
    assert {event.turn for event in events} == {"t1"}


async def test_a_draft_that_does_not_stand_is_replaced_and_said_so() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD})
    events, answer = await run(backend)
    assert backend.asked == ["auto", "extractive"]
    assert any(isinstance(event, DraftDropped) for event in events)
    assert answer.text == GOOD
    assert answer.model.generator is GeneratorKind.EXTRACTIVE
    assert answer.notices


async def test_an_unsupported_sentence_is_left_out_with_a_notice() -> None:
    events, answer = await run(ScriptedBackend({"auto": f"{GOOD} {TALK}"}))
    assert answer.text == GOOD
    assert [event.code for event in events if isinstance(event, Notice)] == ["left_out"]


async def test_what_an_engine_without_its_model_quotes_is_not_held_back() -> None:
    @dataclass
    class Fallen(ScriptedBackend):
        async def generate(
            self, request: GenerateRequest, cancel: asyncio.Event
        ) -> AsyncIterator[GenerateEvent]:
            yield Notice(request.turn, FELL_TO_EXTRACTIVE, "There is no model.")
            async for event in super().generate(replace(request, generator="extractive"), cancel):
                yield event

    sentences = (
        "Common symptoms of diabetes are thirst and passing more urine.",
        "Some people with diabetes feel very tired or have blurred vision.",
        "Cuts and bruises of people with diabetes may heal slowly.",
        "Many people with type 2 diabetes notice no symptoms for years.",
    )
    evidence = (
        Evidence(1, replace(PASSAGE, text="It is common."), Scores(dense=0.9)),
        Evidence(2, replace(PASSAGE, text=" ".join(sentences)), Scores(dense=0.8)),
    )
    quoted = " ".join(f"{sentence} [2]" for sentence in sentences)
    events, answer = await run(Fallen({"extractive": quoted}, evidence))
    assert not any(isinstance(event, DraftDropped) for event in events)
    assert (answer.status, answer.text) == (AnswerStatus.ANSWERED, quoted)
    assert answer.notices == ("There is no model.",)


async def test_a_sentence_said_twice_is_shown_once() -> None:
    events, answer = await run(ScriptedBackend({"auto": f"{GOOD} {GOOD}"}))
    assert answer.text == GOOD
    assert sum(isinstance(event, SentenceChecked) for event in events) == 1


async def test_a_hopeless_draft_is_cut_short() -> None:
    endless = " ".join([TALK] * 50)
    backend = ScriptedBackend({"auto": endless, "extractive": GOOD})
    _, answer = await run(backend)
    assert answer.text == GOOD
    assert backend.tokens_sent < len(endless.split(" ")) / 4


async def test_an_unfinished_last_sentence_is_not_shown() -> None:
    _, answer = await run(ScriptedBackend({"auto": f"{GOOD} Some people feel"}, finish="length"))
    assert answer.text == GOOD


async def test_nothing_relevant_means_no_model_call() -> None:
    backend = ScriptedBackend({"auto": GOOD}, relevant=False)
    events, answer = await run(backend, "Who won the 1998 World Cup?")
    assert backend.asked == []
    assert not any(isinstance(event, Token) for event in events)
    assert answer.status is AnswerStatus.ABSTAINED
    assert answer.exit_code == ExitCode.ABSTAINED
    assert answer.text


async def test_a_passage_on_another_topic_is_shown_but_not_read() -> None:
    evidence = (
        Evidence(1, PASSAGE, Scores(dense=0.9)),
        Evidence(2, replace(PASSAGE, title="Gout", text="Gout hurts."), Scores(dense=0.5)),
        Evidence(3, PASSAGE, Scores(dense=0.8)),
    )
    backend = ScriptedBackend({"auto": GOOD}, evidence)
    events, answer = await run(backend)
    assert set(backend.read) == {(1, 3)}
    assert answer.evidence == evidence
    assert [e.evidence for e in events if isinstance(e, EvidenceFound)] == [evidence, evidence]


async def test_a_model_that_declines_is_believed() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD}, finish="abstain")
    _, answer = await run(backend, "Is type 2 diabetes inherited?")
    assert backend.asked == ["auto"]
    assert answer.status is AnswerStatus.ABSTAINED


async def test_a_model_that_declines_beside_the_very_question_is_not() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD}, finish="abstain")
    events, answer = await run(backend, "what are the symptoms of type 2 diabetes")
    assert backend.asked == ["auto", "extractive"]
    assert any(isinstance(event, DraftDropped) for event in events)
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.text == GOOD


async def test_an_emergency_is_told_first_and_still_answered() -> None:
    backend = ScriptedBackend({"extractive": GOOD})
    events, answer = await run(backend, "crushing chest pain spreading to my left arm")
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
    assert backend.queries == []
    assert memory.told == ["begin", "finish"]


async def test_an_emergency_outlives_a_broken_backend() -> None:
    backend = ScriptedBackend(cannot_start=True)
    _, answer = await run(backend, "crushing chest pain spreading to my left arm")
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
    question = Question("What are the symptoms of type 2 diabetes?", "t1")
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
async def test_a_listener_that_goes_away_is_recorded_and_ends_the_draft(
    answering: AnswerStream,
) -> None:
    memory, backend = Memory(), ScriptedBackend({"auto": GOOD})
    question = Question("What are the symptoms of type 2 diabetes?", "t1")
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
        async def _draft(
            self, request: GenerateRequest, cancel: asyncio.Event
        ) -> AsyncIterator[GenerateEvent]:
            async for event in super()._draft(request, cancel):
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


async def test_a_follow_up_searches_with_its_topic() -> None:
    backend = ScriptedBackend({"auto": GOOD})
    context = (Turn("What are the symptoms of type 2 diabetes?", "Thirst."),)
    _, answer = await run(backend, "How is it treated?", context)
    assert "diabetes" in backend.queries[0].lower()
    assert answer.query == backend.queries[0]


async def test_control_characters_never_reach_the_answer() -> None:
    hostile = GOOD.replace("thirst", "th\x1b[31mirst").replace("Type", "\u202eType")
    events, answer = await run(ScriptedBackend({"auto": hostile}), "symptoms\x07 of diabetes")
    shown = answer.text + answer.question + "".join(e.text for e in events if isinstance(e, Token))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x07" not in shown
