"""A backend that follows a script, and what the use case's tests make of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from medqa_tui import assistant
from medqa_tui.backend import (
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
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Passage,
    Question,
    TokenCounts,
    Triage,
    Turn,
)
from medqa_tui.errors import EngineError
from medqa_tui.events import (
    AnswerDone,
    BackendFailed,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)
from medqa_tui.grounding.support import SupportChecker

QUESTION = "What are the symptoms of type 2 diabetes?"
URGENT = "crushing chest pain spreading to my left arm"
PASSAGE = Passage(
    id="starter:type-2-diabetes-symptoms#0",
    corpus="starter",
    document="type-2-diabetes-symptoms",
    title="Type 2 diabetes",
    question=QUESTION,
    text="Type 2 diabetes often causes increased thirst and frequent urination. "
    "Some people feel very tired or have blurred vision.",
)
EVIDENCE = (Evidence(1, PASSAGE),)
GOOD = "Type 2 diabetes often causes increased thirst and frequent urination. [1]"
TALK = "The answer to this question lies within the box provided. [1]"
NO_MODEL = Failure("There is no model.", "It is gone.", "setup")


@dataclass
class ScriptedBackend:
    """Says what it is told to; checks sentences with the real checker.

    Attributes:
        drafts: What each generator writes, by the name it is asked for under.
        finish: How the model's draft ends.
        broken: What the model fails with instead of writing.
        quotes: Whether what is installed quotes rather than writes.
        searched, written, checked: The requests so far.
    """

    drafts: dict[str, str] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = EVIDENCE
    relevant: bool = True
    finish: str = "stop"
    broken: Failure | None = None
    fails_while_writing: bool = False
    cannot_start: bool = False
    quotes: bool = False
    searched: list[RetrieveRequest] = field(default_factory=list)
    written: list[GenerateRequest] = field(default_factory=list)
    checked: list[GroundRequest] = field(default_factory=list)
    tokens_sent: int = 0
    drafts_ended: int = 0

    @property
    def asked(self) -> list[str]:
        """The generators that were asked to write."""
        return [request.generator for request in self.written]

    @property
    def read(self) -> set[tuple[int, ...]]:
        """The numbers of the passages that were written from or checked against."""
        return {tuple(e.n for e in request.evidence) for request in (*self.written, *self.checked)}

    async def prepare(self, turn: str) -> AsyncIterator[StatusChanged | Notice]:
        if self.cannot_start:
            raise EngineError("The engine did not start.", "It ended with signal 9.", "doctor")
        yield StatusChanged(turn, "engine", "ready")

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncIterator[RetrieveEvent]:
        self.searched.append(request)
        yield EvidenceFound(request.turn, self.evidence, request.query, provisional=True)
        yield EvidenceFound(request.turn, self.evidence, request.query, relevant=self.relevant)

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        self.written.append(request)
        try:
            async for event in self.draft(request, cancel):
                yield event
        finally:
            self.drafts_ended += 1

    async def draft(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        quotes = request.generator == "extractive"
        if self.broken and not quotes:
            yield BackendFailed(request.turn, self.broken)
            return
        text = self.drafts[request.generator]
        for word in text.split(" "):
            await asyncio.sleep(0)
            if cancel.is_set():
                break
            self.tokens_sent += 1
            yield Token(request.turn, word + " ")
        if self.fails_while_writing:
            yield BackendFailed(request.turn, Failure("The engine stopped.", "", "Ask again."))
            return
        kind = GeneratorKind.EXTRACTIVE if quotes else GeneratorKind.MODEL
        ended = "stop" if quotes else self.finish
        finish = "cancelled" if cancel.is_set() else ended
        info = ModelInfo("starter", generator=kind)
        counts = TokenCounts(10, self.tokens_sent)
        yield GenerationDone(request.turn, text, kind, info, counts, finish)  # type: ignore[arg-type]

    async def ground(self, request: GroundRequest) -> GroundResult:
        self.checked.append(request)
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
    text: str = QUESTION,
    context: tuple[Turn, ...] = (),
    memory: Memory | None = None,
    cancel: asyncio.Event | None = None,
    settings: Settings | None = None,
) -> tuple[list[Event], Answer]:
    """Ask, and return the events with the answer, which comes last."""
    answering = assistant.answer(
        Question(text, "t1", context),
        backend,
        settings=settings or Settings(),
        recorder=memory,
        cancel=cancel,
    )
    events = [event async for event in answering]
    last = events[-1]
    assert isinstance(last, AnswerDone)
    return events, last.answer
