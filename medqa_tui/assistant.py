"""One question in, a stream of events out: gate, retrieve, generate, check, answer or abstain.

Every front end draws these events; none has a second copy of any step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from medqa_tui.backend import FELL_TO_EXTRACTIVE, Backend, GenerateRequest, RetrieveRequest
from medqa_tui.cancelling import closing, while_wanted
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
    TriageFound,
)
from medqa_tui.generation.decoding import Decoding, decoding_of
from medqa_tui.grounding import abstention, closed_book, confidence, wording
from medqa_tui.grounding.draft import Draft
from medqa_tui.grounding.drafting import Drafting
from medqa_tui.retrieval import focus, followup, relevance
from medqa_tui.safety import triage
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.safety.sanitize import clean
from medqa_tui.tally import Tally, ms_since

if TYPE_CHECKING:
    from medqa_tui.config import Settings


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
        self.tally = Tally(ModelInfo(profile=settings.profile))
        self.failure: Failure | None = None
        self.abstained = False
        self.decoding = Decoding()
        self.closed_book = False
        self.can_write = True
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
        self.decoding = decoding_of(self.settings)
        async with closing(self._prepare()) as events:
            async for event in events:
                yield event
        if self.cancel.is_set():
            return
        if self.decoding.closed_book:
            async with closing(self._remember()) as events:
                async for event in events:
                    yield event
            if self.closed_book:
                return
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

    async def _prepare(self) -> AsyncIterator[Event]:
        began = time.perf_counter()
        preparing = while_wanted(self.backend.prepare(self.turn), self.cancel)
        async with closing(preparing) as steps:
            async for ready in steps:
                yield ready
        self.tally.engine_start = ms_since(began)
        self.query = followup.rewrite(self.question.text, self.question.context)

    async def _remember(self) -> AsyncIterator[Event]:
        """Answer from the model's memory; without a model that can, leave it to the evidence."""
        if self._alarmed:
            yield Notice(self.turn, "evidence_used", closed_book.ALARMED)
            return
        self.closed_book = True
        yield Notice(self.turn, closed_book.CODE, closed_book.LABEL)
        # The model is not told of the conversation: a follow-up has to be whole.
        asked, self.asked = self.asked, focus.focus(self.query)
        async with closing(self._draft("model")) as events:
            async for event in events:
                yield event
        if self.failure and self.settings.answer.generator == "auto" and not self.draft.kept:
            words = closed_book.fallen(self.failure)
            self.failure, self.closed_book, self.can_write, self.asked = None, False, False, asked
            yield Notice(self.turn, FELL_TO_EXTRACTIVE, words)
            return
        self.abstained = not self.draft.kept and not self._stopped()

    async def _find_evidence(self) -> AsyncIterator[Event]:
        request = RetrieveRequest(
            self.turn,
            self.query,
            k=self.settings.retrieval.k,
            corpora=self.settings.retrieval.corpora_of(self.settings.profile),
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
        self.tally.retrieve = ms_since(began)

    async def _write(self) -> AsyncIterator[Event]:
        # Beside an emergency's advice stand only the evidence's own words.
        quotes = self._alarmed or not self.can_write or self.backend.quotes
        async with closing(self._draft("extractive" if quotes else "auto")) as events:
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
            reason = wording.DECLINED if declined else wording.NOT_STANDING
            self.tally.notices.append(reason)
            yield DraftDropped(self.turn, reason)
            async with closing(self._draft("extractive")) as events:
                async for event in events:
                    yield event
        self.abstained = not self.draft.kept and not self._stopped()

    async def _draft(
        self, generator: Literal["auto", "model", "extractive"]
    ) -> AsyncIterator[Event]:
        request = self._request(generator)
        drafting = Drafting(self.backend, request, self.tally, self.cancel, self._keep)
        self.draft = drafting.draft
        try:
            async with closing(drafting.events()) as events:
                async for event in events:
                    yield event
        finally:
            self.generated = drafting.done
            self.failure = drafting.failure or self.failure

    def _request(self, generator: Literal["auto", "model", "extractive"]) -> GenerateRequest:
        options = self.settings.answer
        return GenerateRequest(
            self.turn,
            self.asked,
            self.reading,
            () if self.closed_book else self.question.context,
            generator=generator,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            prompt_lookup=options.prompt_lookup,
            closed_book=self.closed_book,
            num_beams=self.decoding.beams,
            no_repeat_ngram=self.decoding.no_repeat_ngram,
        )

    # -- bookkeeping -----------------------------------------------------------------------

    def _keep(self, sentences: Sequence[Sentence]) -> None:
        if self.recorder:
            text = wording.prose(sentences)
            self.recorder.partial(
                self.turn, closed_book.labelled(text) if self.closed_book else text
            )

    def _noted(self, event: Event) -> Event:
        if isinstance(event, Notice):
            self.tally.notices.append(event.message)
        return event

    @property
    def _alarmed(self) -> bool:
        return self.triage.level is not TriageLevel.NONE

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
        text = wording.prose(sentences)
        if self.abstained:
            text = abstention.message(
                self.question.text, self.relevant, closed_book=self.closed_book
            )
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
            model=self.tally.model,
            timings=self.tally.timings,
            tokens=self.tally.tokens,
            disclaimer=DISCLAIMER,
            notices=tuple(self.tally.notices),
            query=self.query if self.query != self.question.text else None,
            failure=self.failure,
            closed_book=self.closed_book,
        )
        if self.recorder:
            self.recorder.finish(self.turn, result)
        self.finished = True
        return result

    def close(self, status: AnswerStatus) -> None:
        """Tell the recorder of an answer that broke off, or whose listener went away."""
        if self.begun and not self.finished:
            self._finish(AnswerStatus.EMERGENCY if self.triage.is_emergency else status)
