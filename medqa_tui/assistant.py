"""One question in, a stream of events out: gate, retrieve, generate, check, answer or abstain.

Every front end draws these events; none has a second copy of any step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal, Protocol

from medqa_tui.backend import (
    FELL_TO_EXTRACTIVE,
    Backend,
    GenerateRequest,
    GroundRequest,
    RetrieveRequest,
)
from medqa_tui.cancelling import calling, closing, first_of, while_wanted
from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Confidence,
    ConfidenceLabel,
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Question,
    Sentence,
    Timings,
    TokenCounts,
    Triage,
    TriageLevel,
)
from medqa_tui.errors import MedQAError
from medqa_tui.events import (
    AnswerDone,
    BackendFailed,
    DraftDropped,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    SentenceChecked,
    Token,
    TriageFound,
)
from medqa_tui.grounding import abstention, confidence
from medqa_tui.grounding.citations import format_marks
from medqa_tui.grounding.draft import Draft
from medqa_tui.grounding.sentences import SentenceBuffer
from medqa_tui.retrieval import focus, followup, relevance
from medqa_tui.safety import triage
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.safety.sanitize import clean

if TYPE_CHECKING:
    from medqa_tui.config import Settings


_NOT_STANDING = (
    "The model's draft did not hold up against the evidence, so the answer quotes the evidence "
    "itself."
)
_DECLINED = (
    "The model saw no answer in passages that are very close to the question, so the answer quotes "
    "them."
)


class Recorder(Protocol):
    """Where a conversation is kept; `begin` is called before anything is generated."""

    def begin(self, question: Question, triage: Triage) -> None: ...

    def partial(self, turn: str, text: str) -> None: ...

    def finish(self, turn: str, answer: Answer) -> None: ...


async def answer(
    question: Question,
    backend: Backend,
    *,
    settings: Settings,
    recorder: Recorder | None = None,
    cancel: asyncio.Event | None = None,
) -> AsyncIterator[Event]:
    """Yield everything that happens while `question` is answered; `AnswerDone` is always last.

    Setting `cancel` ends the answer within one generation step and keeps what was checked so far.
    Closing the iterator early does the same, without the last event; the recorder hears of it.
    Errors of the backend become an answer with status `failed`.
    """
    run = _Run(question, backend, settings, recorder, cancel or asyncio.Event())
    try:
        async with closing(run.events()) as events:
            async for event in events:
                yield event
    except Exception:
        run.close(AnswerStatus.FAILED)
        raise
    finally:
        run.close(AnswerStatus.CANCELLED)


class _Run:
    """The state of one answer while it is made."""

    def __init__(
        self,
        question: Question,
        backend: Backend,
        settings: Settings,
        recorder: Recorder | None,
        cancel: asyncio.Event,
    ) -> None:
        self.question = Question(clean(question.text).strip(), question.turn, question.context)
        self.turn = question.turn
        self.backend = backend
        self.settings = settings
        self.recorder = recorder
        self.cancel = cancel
        self.triage = Triage()
        self.query = self.question.text
        self.asked = focus.focus(self.question.text)  # a story leaves no room for evidence
        self.evidence: tuple[Evidence, ...] = ()
        self.reading: tuple[Evidence, ...] = ()
        self.relevant = False
        self.draft = Draft()
        self.generated: GenerationDone | None = None
        self.notices: list[str] = []
        self.model = ModelInfo(profile=settings.profile)
        self.tokens = TokenCounts()
        self.failure: Failure | None = None
        self.abstained = False
        self.started = time.perf_counter()
        self.engine_start: float | None = None
        self.retrieve_ms: float | None = None
        self.first_token: float | None = None
        self.generate_ms: float | None = None
        self.begun = self.finished = False

    # -- the steps, in order ---------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        self.triage = triage.check(self.question.text)
        if self.triage.level is not TriageLevel.NONE:
            yield TriageFound(self.turn, self.triage)
        if self.recorder:
            self.recorder.begin(self.question, self.triage)
        self.begun = True
        if self.triage.educate:
            try:
                async with closing(self._educate()) as events:
                    async for event in events:
                        yield self._noted(event)
            except MedQAError as error:
                self.failure = Failure(error.title, error.detail, error.hint, error.exit_code)
        yield AnswerDone(self.turn, self._finish(self._status()))

    async def _educate(self) -> AsyncIterator[Event]:
        async with closing(self._find_evidence()) as events:
            async for event in events:
                yield event
        if self._stopped():
            return
        if not self.relevant:
            self.abstained = True
            return
        async with closing(self._write()) as events:
            async for event in events:
                yield event

    async def _find_evidence(self) -> AsyncIterator[Event]:
        began = time.perf_counter()
        preparing = while_wanted(self.backend.prepare(self.turn), self.cancel)
        async with closing(preparing) as steps:
            async for ready in steps:
                yield ready
        self.engine_start = _ms_since(began)
        if self.cancel.is_set():
            return
        self.query = followup.rewrite(self.question.text, self.question.context)
        request = RetrieveRequest(
            self.turn,
            self.query,
            k=self.settings.retrieval.k,
            mode=self.settings.retrieval.mode,
            rerank=self.settings.retrieval.rerank,
        )
        began = time.perf_counter()
        async with closing(self.backend.retrieve(request, self.cancel)) as events:
            async for event in events:
                match event:
                    case EvidenceFound():
                        self.evidence, self.relevant = event.evidence, event.relevant
                        self.reading = relevance.worth_reading(event.evidence)
                        yield event
                    case BackendFailed():
                        self.failure = event.failure
                    case _:
                        yield event
        self.retrieve_ms = _ms_since(began)

    async def _write(self) -> AsyncIterator[Event]:
        # Beside an emergency's advice stand only the evidence's own words.
        alarmed = self.triage.level is not TriageLevel.NONE
        generator = "extractive" if alarmed else self.settings.answer.generator
        async with closing(self._draft(generator)) as events:
            async for event in events:
                yield event
        if self._stopped() or self.draft.kept:
            return
        done = self.generated
        if done is None and not self.draft.is_hopeless:
            self.failure = Failure(
                "The answer ended before it began.",
                "The generator closed without a word.",
                "Ask again; if it happens twice, run: medqa-tui doctor",
            )
            return
        declined = done is not None and done.finish == "abstain"
        believed = declined and not relevance.is_close(self.query, self.reading)
        if not believed and (done is None or done.generator is GeneratorKind.MODEL):
            reason = _DECLINED if declined else _NOT_STANDING
            self.notices.append(reason)
            yield DraftDropped(self.turn, reason)
            async with closing(self._draft("extractive")) as events:
                async for event in events:
                    yield event
        self.abstained = not self.draft.kept and not self._stopped()

    async def _draft(
        self, generator: Literal["auto", "model", "extractive"]
    ) -> AsyncIterator[Event]:
        """Stream one generator's draft, checking each sentence as soon as it is complete."""
        draft = self.draft = Draft(self.reading)
        self.generated = None
        buffer = SentenceBuffer()
        spoken = GeneratorKind.EXTRACTIVE if generator == "extractive" else GeneratorKind.MODEL
        stop = asyncio.Event()
        async with calling(self.cancel, stop.set):
            drafting = self.backend.generate(self._request(generator), stop)
            async with closing(drafting) as events:
                async for event in events:
                    match event:
                        case Token():
                            async with closing(self._hear(event, buffer, spoken)) as heard:
                                async for said in heard:
                                    yield said
                            if draft.is_hopeless:
                                stop.set()
                        case GenerationDone():
                            self.generated = event
                            spoken = event.generator
                            self._account(event)
                        case BackendFailed():
                            self.failure = event.failure
                        case Notice(code=code):
                            if code == FELL_TO_EXTRACTIVE:
                                spoken = GeneratorKind.EXTRACTIVE
                            yield event
                        case _:
                            yield event
        # What follows the last full stop is whole only if the generator itself came to an end.
        done = self.generated
        tail = buffer.flush() if done and done.finish == "stop" else []
        for sentence in tail:
            async with closing(self._check(sentence, spoken)) as sentences:
                async for checked in sentences:
                    yield checked
        if draft.left_out and draft.kept:
            yield Notice(self.turn, "left_out", _left_out(len(draft.left_out)))

    def _request(self, generator: Literal["auto", "model", "extractive"]) -> GenerateRequest:
        options = self.settings.answer
        return GenerateRequest(
            self.turn,
            self.asked,
            self.reading,
            self.question.context,
            generator=generator,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            prompt_lookup=options.prompt_lookup,
        )

    async def _hear(
        self, token: Token, buffer: SentenceBuffer, spoken: GeneratorKind
    ) -> AsyncIterator[Event]:
        if self.first_token is None:
            self.first_token = _ms_since(self.started)
        text = clean(token.text)
        yield Token(self.turn, text)
        for sentence in buffer.push(text):
            async with closing(self._check(sentence, spoken)) as sentences:
                async for checked in sentences:
                    yield checked

    async def _check(self, text: str, generator: GeneratorKind) -> AsyncIterator[Event]:
        if not text.strip():
            return
        request = GroundRequest(self.turn, self.asked, (text,), self.reading, generator)
        checked: list[Sentence] = []

        async def ask() -> None:
            checked.extend((await self.backend.ground(request)).sentences)

        # It may take an engine's start, which nobody waits for who has had enough.
        await first_of(ask(), self.cancel)
        for sentence in checked:
            for shown in self.draft.take(sentence, generator):
                yield SentenceChecked(self.turn, shown)
            if self.recorder and self.draft.kept:
                self.recorder.partial(self.turn, _prose(self.draft.kept))

    # -- bookkeeping -----------------------------------------------------------------------

    def _noted(self, event: Event) -> Event:
        if isinstance(event, Notice):
            self.notices.append(event.message)
        return event

    def _account(self, done: GenerationDone) -> None:
        self.model = done.model
        self.tokens = TokenCounts(
            self.tokens.prompt + done.tokens.prompt,
            self.tokens.completion + done.tokens.completion,
        )
        self.generate_ms = (self.generate_ms or 0.0) + (done.generate_ms or 0.0)

    def _stopped(self) -> bool:
        return self.cancel.is_set() or self.failure is not None

    def _status(self) -> AnswerStatus:
        if self.triage.is_emergency:
            return AnswerStatus.EMERGENCY
        if self.cancel.is_set():
            return AnswerStatus.CANCELLED
        if self.failure:
            return AnswerStatus.FAILED
        return AnswerStatus.ABSTAINED if self.abstained else AnswerStatus.ANSWERED

    def _finish(self, status: AnswerStatus) -> Answer:
        sentences = self.draft.kept
        text = _prose(sentences)
        if self.abstained:
            text = abstention.message(self.question.text, self.relevant)
        # What was left out counts too: a draft that lost sentences is trusted less.
        sure = (
            confidence.estimate([*sentences, *self.draft.left_out], self.evidence)
            if sentences
            else Confidence(0.0, ConfidenceLabel.LOW)
        )
        result = Answer(
            question=self.question.text,
            status=status,
            text=text,
            sentences=tuple(sentences),
            evidence=self.evidence if self.relevant else (),
            confidence=sure,
            triage=self.triage,
            model=self.model,
            timings=Timings(
                engine_start=self.engine_start,
                retrieve=self.retrieve_ms,
                first_token=self.first_token,
                generate=self.generate_ms,
                total=_ms_since(self.started),
            ),
            tokens=self.tokens,
            disclaimer=DISCLAIMER,
            notices=tuple(self.notices),
            query=self.query if self.query != self.question.text else None,
            failure=self.failure,
        )
        if self.recorder:
            self.recorder.finish(self.turn, result)
        self.finished = True
        return result

    def close(self, status: AnswerStatus) -> None:
        """Tell the recorder of an answer that broke off, or whose listener went away."""
        if self.begun and not self.finished:
            self._finish(AnswerStatus.EMERGENCY if self.triage.is_emergency else status)


def _prose(sentences: list[Sentence]) -> str:
    return " ".join(cited(sentence) for sentence in sentences)


def cited(sentence: Sentence) -> str:
    """Return the sentence with its citation marks, as every front end shows it."""
    marks = format_marks(sentence.citations)
    return f"{sentence.text} {marks}" if marks else sentence.text


def _left_out(count: int) -> str:
    what = "1 sentence was" if count == 1 else f"{count} sentences were"
    return f"{what} left out: not found in the evidence."


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000.0
