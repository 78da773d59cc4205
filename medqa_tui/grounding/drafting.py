"""One generator's draft, streamed: each sentence is checked as soon as it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from medqa_tui.backend import FELL_TO_EXTRACTIVE, Backend, GenerateRequest, GroundRequest
from medqa_tui.cancelling import calling, closing, first_of
from medqa_tui.domain import Failure, GeneratorKind, Sentence
from medqa_tui.events import (
    BackendFailed,
    Event,
    GenerationDone,
    Notice,
    SentenceChecked,
    Token,
)
from medqa_tui.grounding import closed_book, wording
from medqa_tui.grounding.draft import Draft
from medqa_tui.grounding.sentences import SentenceBuffer
from medqa_tui.safety.sanitize import clean
from medqa_tui.tally import Tally


class Drafting:
    """A draft while it is written.

    Args:
        request: What is to be written, by whom, and from which evidence.
        tally: Hears of the first token and of the end.
        cancel: Set, it ends the draft within one generation step.
        on_kept: Called with the sentences of the answer so far, whenever one was checked.

    Attributes:
        draft: What stands of it, and what was left out.
        done: How it ended; None while it is written, and if it broke off.
        failure: What the backend said went wrong.
    """

    def __init__(
        self,
        backend: Backend,
        request: GenerateRequest,
        tally: Tally,
        cancel: asyncio.Event,
        on_kept: Callable[[Sequence[Sentence]], None],
    ) -> None:
        self.draft = Draft(request.evidence)
        self.done: GenerationDone | None = None
        self.failure: Failure | None = None
        self._backend = backend
        self._request = request
        self._tally = tally
        self._cancel = cancel
        self._on_kept = on_kept
        self._buffer = SentenceBuffer()
        quotes = request.generator == "extractive"
        self._spoken = GeneratorKind.EXTRACTIVE if quotes else GeneratorKind.MODEL

    async def events(self) -> AsyncIterator[Event]:
        """Yield the tokens and the sentences that stand; a failure of the backend is kept."""
        stop = asyncio.Event()
        drafting = self._backend.generate(self._request, stop)
        async with calling(self._cancel, stop.set), closing(drafting) as events:
            async for event in events:
                match event:
                    case Token():
                        async with closing(self._hear(event)) as heard:
                            async for said in heard:
                                yield said
                        if self.draft.is_hopeless:
                            stop.set()
                    case GenerationDone():
                        self.done = event
                        self._spoken = event.generator
                        self._tally.count(event)
                    case BackendFailed():
                        self.failure = event.failure
                    case Notice(code=code):
                        if code == FELL_TO_EXTRACTIVE:
                            self._spoken = GeneratorKind.EXTRACTIVE
                        yield event
                    case _:
                        yield event
        if self._ends_whole():
            async with closing(self._check(self._buffer.flush())) as checked:
                async for said in checked:
                    yield said
        if self.draft.left_out and self.draft.kept:
            text = wording.left_out(len(self.draft.left_out))
            yield Notice(self._request.turn, "left_out", text)

    def _ends_whole(self) -> bool:
        """Tell whether what follows the last full stop is whole: the generator came to an end.

        A model that answers from memory may write one long sentence and no full stop.
        """
        if self.done is None:
            return False
        unstopped = self._request.closed_book and not self.draft.kept
        return self.done.finish == "stop" or (unstopped and self.done.finish == "length")

    async def _hear(self, token: Token) -> AsyncIterator[Event]:
        self._tally.hear()
        text = clean(token.text)
        yield Token(self._request.turn, text)
        async with closing(self._check(self._buffer.push(text))) as checked:
            async for said in checked:
                yield said

    async def _check(self, texts: Sequence[str]) -> AsyncIterator[Event]:
        """Yield the sentences that may be shown now."""
        for text in filter(str.strip, texts):
            for sentence in await self._checked(text):
                for shown in self.draft.take(sentence, self._spoken):
                    yield SentenceChecked(self._request.turn, shown)
                if self.draft.kept:
                    self._on_kept(self.draft.kept)

    async def _checked(self, text: str) -> Sequence[Sentence]:
        """Return one sentence as it was checked; nothing if the answer was cancelled meanwhile."""
        if self._request.closed_book:
            return closed_book.unchecked(text)
        request = GroundRequest(
            self._request.turn,
            self._request.question,
            (text,),
            self._request.evidence,
            self._spoken,
        )
        checked: list[Sentence] = []

        async def ask() -> None:
            checked.extend((await self._backend.ground(request)).sentences)

        # It may take an engine's start, which nobody waits for who has had enough.
        await first_of(ask(), self._cancel)
        return checked
