"""The backend of every front end: it asks the engine, and starts it when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from medqa_tui import events
from medqa_tui.backend import Backend, GenerateRequest, GroundRequest, GroundResult, RetrieveRequest
from medqa_tui.cancelling import while_wanted
from medqa_tui.domain import Failure, GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.engine import connect, lifecycle, transport, wire
from medqa_tui.engine.connect import status
from medqa_tui.engine.status import EngineStatus
from medqa_tui.errors import MedQAError
from medqa_tui.events import (
    BackendFailed,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)

if TYPE_CHECKING:
    import httpx2

    from medqa_tui.backend import GenerateEvent, RetrieveEvent
    from medqa_tui.config import Settings
    from medqa_tui.engine.transport import Transport
    from medqa_tui.paths import Paths

__all__ = ["EngineBackend", "EngineStatus", "open_backend", "status"]


def open_backend(paths: Paths, settings: Settings, in_process: bool = False) -> Backend:
    """Return the engine's backend, or one that loads the models into this process.

    Args:
        in_process: Never use the engine, whatever `engine.enabled` says.
    """
    if in_process or not settings.engine.enabled:
        from medqa_tui.engine.local import LocalBackend

        return LocalBackend(paths, settings)
    return EngineBackend(paths, settings)


class _BrokenError(Exception):
    """The connection ended before the stream did."""


class EngineBackend:
    """Retrieves, generates and grounds through the engine; implements `backend.Backend`.

    An engine that dies is started once more where nothing of the answer was seen yet.
    """

    def __init__(self, paths: Paths, settings: Settings, kind: Transport | None = None) -> None:
        self.paths = paths
        self.settings = settings
        self._kind = kind
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def prepare(self, turn: str) -> AsyncGenerator[StatusChanged | Notice, None]:
        """Find, start or replace the engine, saying what is done."""
        said: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        abandoned = threading.Event()

        def say(message: str | None) -> None:
            # The loop may be closed by now, if the whole program is on its way out.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(said.put_nowait, message)

        def start() -> EngineStatus:
            try:
                return lifecycle.ensure_running(
                    self.paths, self.settings, say, kind=self._kind, abandoned=abandoned
                )
            finally:
                say(None)

        starting = asyncio.ensure_future(asyncio.to_thread(start))
        # If nobody waits any more, its error is nobody's either.
        starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while (message := await said.get()) is not None:
                yield StatusChanged(turn, "engine", message)
            await starting
            await self.aclose()
        finally:
            abandoned.set()

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[RetrieveEvent, None]:
        """Yield the engine's evidence; a search that breaks off is repeated once."""
        async with aclosing(self._stream("/v1/retrieve", request, cancel)) as found:
            async for event in found:
                yield cast("RetrieveEvent", event)

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        """Yield the engine's draft; hanging up is what cancels it."""
        written: list[str] = []
        ended = False
        async with aclosing(self._stream("/v1/generate", request, cancel)) as drafted:
            async for event in drafted:
                if isinstance(event, Token):
                    written.append(event.text)
                ended = isinstance(event, GenerationDone | BackendFailed)
                yield cast("GenerateEvent", event)
        if not ended:
            yield _cut_short(request, self.settings.profile, written)

    async def ground(self, request: GroundRequest) -> GroundResult:
        """Have sentences checked; a check that breaks off is repeated once.

        Raises:
            EngineError: The engine is gone, or could not check them.
        """
        try:
            return await self._ground(request)
        except _BrokenError:
            async for _ in self.prepare(request.turn):
                pass
        try:
            return await self._ground(request)
        except _BrokenError as broken:
            raise wire.error_of(_GONE) from broken

    async def aclose(self) -> None:
        """Let go of the connection; the engine goes on."""
        client, loop, self._client = self._client, self._loop, None
        # A connection that was opened in another event loop went with it.
        if client and loop is asyncio.get_running_loop():
            await client.aclose()

    async def _stream(
        self, path: str, request: RetrieveRequest | GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one request until its last one, or until `cancel` is set."""
        turn, written, again = request.turn, False, False
        while not cancel.is_set():
            try:
                if again:
                    yield Notice(turn, "engine_restarted", "The engine ended; starting it again.")
                    async with aclosing(while_wanted(self.prepare(turn), cancel)) as steps:
                        async for said in steps:
                            yield said
                answering = while_wanted(self._events(path, request), cancel)
                async with aclosing(answering) as told:
                    async for event in told:
                        written = written or isinstance(event, Token)
                        yield event
                return
            except _BrokenError:
                if again or written:
                    yield BackendFailed(turn, _GONE)
                    return
                again = True
            except MedQAError as error:
                yield BackendFailed(turn, wire.failure_of(error))
                return

    async def _events(
        self, path: str, request: RetrieveRequest | GenerateRequest
    ) -> AsyncGenerator[Event, None]:
        """Yield what the engine answers.

        Raises:
            _BrokenError: The connection broke, or the stream ended without its last event.
            EngineError: The request was refused.
        """
        import httpx2

        try:
            async with self._connected().stream(
                "POST", path, content=wire.encode(request)
            ) as reply:
                if reply.status_code != httpx2.codes.OK:
                    raise _refused(reply.status_code, await reply.aread())
                async for line in _lines(reply):
                    event = events.from_json(line)
                    yield event
                    if _is_last(event):
                        return
        except (httpx2.TransportError, ValueError) as error:
            raise _BrokenError from error
        raise _BrokenError

    async def _ground(self, request: GroundRequest) -> GroundResult:
        import httpx2

        try:
            reply = await self._connected().post("/v1/ground", content=wire.encode(request))
        except httpx2.TransportError as error:
            raise _BrokenError from error
        if reply.status_code != httpx2.codes.OK:
            raise _refused(reply.status_code, reply.content)
        return wire.decode(GroundResult, reply.content)

    def _connected(self) -> httpx2.AsyncClient:
        """Return the client of the engine that was found last.

        Raises:
            _BrokenError: There is none.
        """
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            record = transport.read_record(self.paths)
            if record is None:
                raise _BrokenError
            self._client, self._loop = connect.async_client(self.paths, record), loop
        return self._client


_GONE = Failure(
    "The engine ended while it was answering.",
    "",
    "Ask again; if it happens twice, type: medqa-tui engine logs",
)
# Refusals that another attempt can mend: the token is of an earlier engine, or it is leaving.
_PASSING = frozenset({401, 503})


def _refused(status_code: int, body: bytes) -> Exception:
    if status_code in _PASSING:
        return _BrokenError()
    failure = wire.decode_failure(body)
    return wire.error_of(failure or Failure("The engine failed.", f"HTTP status {status_code}."))


def _is_last(event: Event) -> bool:
    if isinstance(event, EvidenceFound):
        return not event.provisional
    return isinstance(event, GenerationDone | BackendFailed)


async def _lines(reply: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the lines of the body; the client's own splitter also cuts at U+2028 inside a text."""
    rest = b""
    async for chunk in reply.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _cut_short(request: GenerateRequest, profile: str, written: list[str]) -> GenerationDone:
    """Return the last event of a draft that was cancelled by hanging up."""
    extractive = request.generator == "extractive"
    kind = GeneratorKind.EXTRACTIVE if extractive else GeneratorKind.MODEL
    model = ModelInfo(profile, generator=kind)
    tokens = TokenCounts(completion=len(written))
    return GenerationDone(request.turn, "".join(written), kind, model, tokens, "cancelled")
