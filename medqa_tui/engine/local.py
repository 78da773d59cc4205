"""The backend that holds the models itself: inside the engine, and in-process without one."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from medqa_tui.backend import (
    FELL_TO_EXTRACTIVE,
    GenerateRequest,
    GroundRequest,
    GroundResult,
    RetrieveRequest,
)
from medqa_tui.cancelling import first_of
from medqa_tui.domain import Evidence, Failure, ModelInfo, TokenCounts
from medqa_tui.engine.bridge import settled, stream_in_thread
from medqa_tui.engine.installed import is_quoting, require_active
from medqa_tui.engine.line import Line
from medqa_tui.engine.parts import DOING, Part, Parts
from medqa_tui.engine.status import PartState
from medqa_tui.engine.watchdog import Watchdog
from medqa_tui.engine.wire import error_of, failure_of
from medqa_tui.errors import BrokenDeviceError, MedQAError
from medqa_tui.events import (
    BackendFailed,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)
from medqa_tui.offline import go_offline

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from medqa_tui.backend import DraftEvent, GenerateEvent, RetrieveEvent
    from medqa_tui.config import Settings
    from medqa_tui.generation.local import LocalGenerator
    from medqa_tui.grounding.support import SupportChecker
    from medqa_tui.paths import Paths
    from medqa_tui.retrieval.retriever import Mode, Retriever, SearchResult

log = logging.getLogger(__name__)


class _Generator(Protocol):
    """What writes a draft: the model or the extractive one."""

    def stream(self, request: GenerateRequest, cancel: threading.Event) -> Iterator[DraftEvent]: ...


class LocalBackend:
    """Retrieves, generates and grounds in this process; implements `backend.Backend`.

    Nothing heavy is imported before it is needed, and then in a thread.

    Attributes:
        broken: Why only a new process can go on, once that is so.
    """

    def __init__(self, paths: Paths, settings: Settings, watchdog: Watchdog | None = None) -> None:
        self.broken: BrokenDeviceError | None = None
        self.watchdog = watchdog or Watchdog()
        self.paths = paths
        self.settings = settings
        self.line = Line(settings.engine.queue)
        self._parts: Parts | None = None
        self._checker: tuple[bool, SupportChecker] | None = None
        # Without a handler of the host's, warnings would go to a terminal that is being drawn on.
        logging.getLogger("medqa_tui").addHandler(logging.NullHandler())

    @property
    def parts(self) -> Parts:
        """The parts that are loaded, or will be.

        Raises:
            NotSetUpError: Nothing is installed for this profile.
        """
        if self._parts is None:
            active = require_active(self.paths, self.settings)
            go_offline()
            # Its import warns that an optional kernel, fetched from a hub, is missing.
            logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
            self._parts = Parts(self.paths, self.settings, active, self.watchdog)
        return self._parts

    @property
    def quotes(self) -> bool:
        """Whether answers are quoted; an adapter that was changed meanwhile counts."""
        return is_quoting(self.settings, self.parts.active)

    async def prepare(self, turn: str) -> AsyncGenerator[StatusChanged | Notice, None]:
        """Begin to load what a search needs."""
        parts = self.parts
        parts.want(Part.RERANKER)
        if parts.state(Part.LEXICAL) is not PartState.READY:
            yield StatusChanged(turn, "load", DOING[Part.LEXICAL])

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[RetrieveEvent, None]:
        """Yield what the lexical arm finds at once if the embedder still loads, then the rest."""
        parts, turn = self.parts, request.turn
        async for status in self._until(Part.LEXICAL, turn, cancel):
            yield status
        if cancel.is_set():
            return
        if parts.state(Part.LEXICAL) is PartState.FAILED:
            yield BackendFailed(turn, _load_failure(parts, Part.LEXICAL))
            return
        try:
            async with aclosing(self._search(request, cancel)) as events:
                async for event in events:
                    yield event
        except Exception as error:
            yield BackendFailed(turn, self._work_failure("The search failed.", error))

    async def _search(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[RetrieveEvent, None]:
        parts, turn, mode = self.parts, request.turn, request.mode
        if mode != "bm25":
            parts.want(Part.EMBEDDER)
            if parts.state(Part.EMBEDDER) in (PartState.WAITING, PartState.LOADING):
                yield await asyncio.to_thread(self._provisional, request)
            async for status in self._until(Part.EMBEDDER, turn, cancel):
                yield status
            if parts.state(Part.EMBEDDER) is PartState.FAILED:
                mode = "bm25"
                yield Notice(
                    turn,
                    "lexical_only",
                    f"Searching by words only: {parts.problem(Part.EMBEDDER)}",
                )
        if request.rerank and parts.active.reranker:
            async for status in self._until(Part.RERANKER, turn, cancel):
                yield status
            if parts.state(Part.RERANKER) is PartState.FAILED:
                yield Notice(turn, "not_reranked", parts.problem(Part.RERANKER))
        if cancel.is_set():
            return
        found = await asyncio.to_thread(self._find, request, mode)
        for code, message in found.notices:
            yield Notice(turn, code, message)
        yield EvidenceFound(turn, found.evidence, request.query, relevant=found.relevant)

    def _provisional(self, request: RetrieveRequest) -> EvidenceFound:
        from medqa_tui.retrieval.relevance import is_relevant

        with self.watchdog.watch("searching"):
            found: tuple[Evidence, ...] = self._retriever().lexical(
                request.query, request.k, request.scope
            )
        return EvidenceFound(
            request.turn,
            found,
            request.query,
            relevant=is_relevant(request.query, found),
            provisional=True,
        )

    def _find(self, request: RetrieveRequest, mode: Mode) -> SearchResult:
        with self.parts.search_lock, self.watchdog.watch("searching"):
            return self._retriever().search(
                request.query,
                request.k,
                mode=mode,
                rerank=request.rerank,
                scope=request.scope,
            )

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        """Yield a draft's tokens once it is this request's turn; one draft is written at a time."""
        try:
            ticket = self.line.join(request.turn)
        except MedQAError as error:
            yield BackendFailed(request.turn, failure_of(error))
            return
        try:
            while ticket.ahead and not cancel.is_set():
                if others := ticket.others:
                    yield StatusChanged(request.turn, "waiting", _waiting(others))
                ticket.moved.clear()
                await first_of(ticket.moved.wait(), cancel)
            async with aclosing(self._write(request, cancel)) as events:
                async for event in events:
                    yield event
        finally:
            ticket.leave()

    async def _write(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        """Yield the draft of the model, or the extractive one's if the model cannot begin."""
        if request.generator != "extractive":
            begun = False
            async with aclosing(self._with_model(request, cancel)) as events:
                async for event in events:
                    if (
                        isinstance(event, BackendFailed)
                        and request.generator == "auto"
                        and not begun
                    ):
                        yield Notice(request.turn, FELL_TO_EXTRACTIVE, _fallen(event.failure))
                        break
                    begun = begun or isinstance(event, Token)
                    yield event
                else:
                    return
        async with aclosing(self._draft(self._extractive, request, cancel)) as events:
            async for event in events:
                yield event

    async def _with_model(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        parts, turn = self.parts, request.turn
        parts.retry(Part.GENERATOR)
        async for status in self._until(Part.GENERATOR, turn, cancel):
            yield status
        if cancel.is_set():
            yield _cancelled(turn, ModelInfo(self.settings.profile))
            return
        if parts.state(Part.GENERATOR) is PartState.FAILED:
            yield BackendFailed(turn, _load_failure(parts, Part.GENERATOR))
            return
        model: LocalGenerator = parts.want(Part.GENERATOR).result()
        for code, message in model.notices:
            yield Notice(turn, code, message)
        async with aclosing(self._draft(lambda: model, request, cancel)) as events:
            async for event in events:
                yield event

    async def _draft(
        self, generator: Callable[[], _Generator], request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        def start(stop: threading.Event) -> Iterator[DraftEvent]:
            # In the thread that writes: who is slow to read what it wrote does not count.
            with self.watchdog.watch("writing an answer"):
                for event in generator().stream(request, stop):
                    self.watchdog.beat()
                    yield event

        try:
            async with aclosing(stream_in_thread(start, cancel)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, GenerationDone):
                        _log_draft(event)
        except Exception as error:
            failure = self._work_failure("The answer could not be written to its end.", error)
            yield BackendFailed(request.turn, failure)

    def _extractive(self) -> _Generator:
        from medqa_tui.generation.extractive import ExtractiveGenerator

        ready = self.parts.state(Part.EMBEDDER) is PartState.READY
        # A GPU that is broken for the model is so for the embedder.
        embed = self.parts.embed if ready and self.broken is None else None
        generator: _Generator = ExtractiveGenerator(self.settings.profile, embed)
        return generator

    async def ground(self, request: GroundRequest) -> GroundResult:
        """Check sentences against the evidence, by meaning too once the embedder is loaded."""
        try:
            return await asyncio.to_thread(self._check, request)
        except MedQAError as error:
            if isinstance(error, BrokenDeviceError):
                self.broken = error
            raise
        except Exception as error:
            raise error_of(self._work_failure("An answer could not be checked.", error)) from error

    def _check(self, request: GroundRequest) -> GroundResult:
        from medqa_tui.grounding.support import SupportChecker

        ready = self.parts.state(Part.EMBEDDER) is PartState.READY
        if self._checker is None or self._checker[0] is not ready:
            self._checker = (ready, SupportChecker(self.parts.embed if ready else None))
        with self.watchdog.watch("checking an answer"):
            result: GroundResult = self._checker[1].check(request)
        return result

    def _work_failure(self, title: str, error: Exception) -> Failure:
        """Return the error as data.

        The words of an unforeseen one are left out, as they may be the question's.
        """
        log.error("%s", title, exc_info=error)
        if "torch" in sys.modules:
            from medqa_tui.generation import faults

            error = faults.device_broken() if faults.is_device_broken(error) else error
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            # There is no memory left for a thread; a new engine gets it back.
            error = BrokenDeviceError("The engine has no memory left to work with.")
        if isinstance(error, BrokenDeviceError):
            self.broken = error
        if isinstance(error, MedQAError):
            return failure_of(error)
        return Failure(title, f"{type(error).__name__}.", "medqa-tui engine logs")

    async def use_adapter(self, name: str | None) -> str | None:
        """Put the adapter that active.json names on the model, once it has nothing to do.

        Args:
            name: What the other side believes it to be.

        Returns:
            The adapter in use: another one than `name` if that was meant for another profile.

        Raises:
            MedQAError: It cannot be used; the one before stays in use.
        """
        named = require_active(self.paths, self.settings).adapter
        if named == name != self.parts.active.adapter:
            switched = self.parts.use_adapter(name)
            await settled(switched)
            switched.result()
        return self.parts.active.adapter

    async def aclose(self) -> None:
        """Let go; what is loaded goes with the process."""

    def _retriever(self) -> Retriever:
        retriever: Retriever = self.parts.want(Part.LEXICAL).result()
        return retriever

    async def _until(
        self, part: Part, turn: str, cancel: asyncio.Event
    ) -> AsyncGenerator[StatusChanged, None]:
        """Say what is loaded until `part` is there or has failed, or `cancel` is set."""
        for step in Part:
            future = self.parts.want(step)
            # A profile without a re-ranker has nothing to say of it.
            used = step is not Part.RERANKER or self.parts.active.reranker
            if used and not future.done() and not cancel.is_set():
                yield StatusChanged(turn, "load", DOING[step])
                await first_of(settled(future), cancel)
            if step is part:
                return


def _cancelled(turn: str, model: ModelInfo) -> GenerationDone:
    """Return the end of a draft that was cancelled before its generator was there."""
    return GenerationDone(turn, "", model.generator, model, TokenCounts(), "cancelled")


def _waiting(ahead: int) -> str:
    what = "another answer" if ahead == 1 else f"{ahead} other answers"
    return f"Waiting for {what}."


def _fallen(failure: Failure) -> str:
    why = " ".join(part for part in (failure.title, failure.detail) if part)
    return f"The answer quotes its evidence, since the language model cannot be used: {why}"


def _load_failure(parts: Parts, part: Part) -> Failure:
    error = parts.want(part).exception()
    if isinstance(error, MedQAError):
        return failure_of(error)
    what = "search index" if part is Part.LEXICAL else "language model"
    return Failure(f"The {what} could not be loaded.", parts.problem(part), "medqa-tui doctor")


def _log_draft(done: GenerationDone) -> None:
    log.info(
        "turn %s: %s, %s, %d tokens read, %d written",
        done.turn,
        done.generator,
        done.finish,
        done.tokens.prompt,
        done.tokens.completion,
    )
