"""The backend of every front end: it asks the engine, and starts it when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from medqa_tui import events
from medqa_tui.backend import Backend, GenerateRequest, GroundRequest, GroundResult, RetrieveRequest
from medqa_tui.cancelling import closing, while_wanted
from medqa_tui.domain import Failure, GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.engine import connect, lifecycle, process, transport, wire
from medqa_tui.engine.bridge import Worker, settled
from medqa_tui.engine.connect import status
from medqa_tui.engine.installed import is_quoting, require_active
from medqa_tui.engine.status import EngineStatus
from medqa_tui.engine.vitals import Silence
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

__all__ = ["EngineBackend", "EngineStatus", "open_backend", "status", "use_adapter"]

# How long nothing may be heard of an answer until the engine is asked how it is.
_LISTEN_S = 10.0


def open_backend(paths: Paths, settings: Settings, in_process: bool = False) -> Backend:
    """Return the engine's backend, or one that loads the models into this process.

    Args:
        in_process: Never use the engine, whatever `engine.enabled` says.
    """
    if in_process or not settings.engine.enabled:
        from medqa_tui.engine.local import LocalBackend

        return LocalBackend(paths, settings)
    return EngineBackend(paths, settings)


def use_adapter(paths: Paths, name: str | None) -> bool:
    """Have the running engine use the adapter that active.json now names, without a restart.

    It waits for the answer that is being written, and for a model that is being loaded.

    Args:
        name: The adapter, or None for the model alone.

    Returns:
        False if no engine runs, or it runs another profile: the next one starts with it.

    Raises:
        EngineError: The engine cannot use it, and keeps the one before.
    """
    return connect.use_adapter(paths, name)


class _BrokenError(Exception):
    """The connection ended before the stream did; the text says why if that is known."""


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
        self._pid: int | None = None
        self._mute: int | None = None
        self._restarted: str | None = None

    @property
    def quotes(self) -> bool:
        """Whether answers are quoted, as what is installed now has it."""
        return is_quoting(self.settings, require_active(self.paths, self.settings))

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
                    self.paths,
                    self.settings,
                    say,
                    kind=self._kind,
                    abandoned=abandoned,
                    mute=self._mute,
                )
            finally:
                say(None)

        # A daemon thread: a program that was interrupted does not wait for it.
        starting = Worker[EngineStatus]("engine").submit(start)
        try:
            while (message := await said.get()) is not None:
                yield StatusChanged(turn, "engine", message)
            await settled(starting)
            starting.result()
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
        except _BrokenError as broken:
            why = await self._why(broken)
            if not self._may_restart(request.turn):
                raise wire.error_of(_gone(why)) from broken
        async with aclosing(self.prepare(request.turn)) as steps:
            async for _ in steps:
                pass
        try:
            return await self._ground(request)
        except _BrokenError as broken:
            raise wire.error_of(_gone(await self._why(broken))) from broken

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
        turn, written, why = request.turn, False, ""
        while not cancel.is_set():
            try:
                if why:
                    message = f"The engine ended ({why}); starting it again."
                    yield Notice(turn, "engine_restarted", message)
                    async with aclosing(while_wanted(self.prepare(turn), cancel)) as steps:
                        async for said in steps:
                            yield said
                answering = while_wanted(self._heard(path, request), cancel)
                async with aclosing(answering) as told:
                    async for event in told:
                        written = written or isinstance(event, Token)
                        yield event
                return
            except _BrokenError as broken:
                why = await self._why(broken)
                if written or not self._may_restart(turn):
                    yield BackendFailed(turn, _gone(why))
                    return
            except MedQAError as error:
                yield BackendFailed(turn, wire.failure_of(error))
                return

    def _may_restart(self, turn: str) -> bool:
        """Return whether the engine may be started again for `turn`: once for each."""
        may, self._restarted = self._restarted != turn, turn
        return may

    async def _why(self, broken: _BrokenError) -> str:
        """Return why the engine is gone: a clause."""
        return str(broken) or await asyncio.to_thread(process.how_it_ended, self.paths, self._pid)

    async def _heard(
        self, path: str, request: RetrieveRequest | GenerateRequest
    ) -> AsyncGenerator[Event, None]:
        """Yield what the engine answers, and say so while it does not even say how it is.

        Raises:
            _BrokenError: It is gone, or did not respond for too long.
            EngineError: The request was refused.
        """
        end = object()
        async with aclosing(self._events(path, request)) as answer:
            while True:
                step = asyncio.ensure_future(anext(answer, end))
                try:
                    async with aclosing(self._listen(step)) as words:
                        async for word in words:
                            yield StatusChanged(request.turn, "engine", word)
                finally:
                    await _given_up(step)
                event = step.result()
                if event is end:
                    return
                yield cast("Event", event)

    async def _listen(self, step: asyncio.Future[Any]) -> AsyncGenerator[str, None]:
        """Wait for `step`; yield a word once the engine does not respond.

        Raises:
            _BrokenError: It did not for so long that it never will.
        """
        limit = self.settings.engine.watchdog
        listen = min(_LISTEN_S, limit / 3) if limit else _LISTEN_S
        silence: Silence | None = None
        while True:
            began = time.monotonic()
            done, _ = await asyncio.wait({step}, timeout=listen)
            if done or await self._responds() or step.done():
                if step.done():
                    return
                silence = None
                continue
            if silence is None:
                silence = Silence(self._pid, limit)
                yield "The engine does not respond; waiting for it."
            # Not longer than it would have taken: this process may have been suspended as well.
            if silence.lasted(min(time.monotonic() - began, listen + connect.ANSWER_S)):
                self._mute = self._pid
                raise _BrokenError(f"it did not respond for {silence.seconds:.0f} s")

    async def _responds(self) -> bool:
        import httpx2

        try:
            reply = await self._connected().get("/v1/status", timeout=connect.ANSWER_S)
        except (httpx2.TransportError, _BrokenError):
            return False
        return reply.status_code == httpx2.codes.OK

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
                async with aclosing(_lines(reply)) as lines:
                    async for line in lines:
                        event = events.from_json(line)
                        if isinstance(event, Notice) and event.code == wire.ENGINE_BROKEN:
                            raise _BrokenError(_clause(event.message))
                        yield event
                        if _is_last(event):
                            return
        except (httpx2.TransportError, ValueError) as error:
            raise _BrokenError from error
        raise _BrokenError

    async def _ground(self, request: GroundRequest) -> GroundResult:
        import httpx2

        client = self._connected()
        asking = asyncio.ensure_future(client.post("/v1/ground", content=wire.encode(request)))
        try:
            async for _ in self._listen(asking):
                pass
            reply = asking.result()
        except httpx2.TransportError as error:
            raise _BrokenError from error
        finally:
            await _given_up(asking)
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
            if record is None or not connect.is_there(record):
                raise _BrokenError
            self._client, self._loop = connect.async_client(self.paths, record), loop
            self._pid = record.pid
        return self._client


def _gone(why: str) -> Failure:
    return Failure(
        "The engine ended while it was answering.",
        f"{why[:1].upper()}{why[1:]}.",
        "Ask again; if it happens twice, type: medqa-tui engine logs",
    )


def _clause(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".")


async def _given_up(step: asyncio.Future[Any]) -> None:
    """End a step that nobody waits for any more."""
    if not step.done():
        step.cancel()
        await asyncio.wait({step})
    # What went wrong on the way out is nobody's, unless it is asked for.
    _ = step.cancelled() or step.exception()


# Refusals that another attempt can mend: the token is of an earlier engine, or it is leaving.
_PASSING = frozenset({401, 503})


def _refused(status_code: int, body: bytes) -> Exception:
    failure = wire.decode_failure(body)
    if status_code in _PASSING:
        return _BrokenError(_clause(failure.title) if failure else "")
    return wire.error_of(failure or Failure("The engine failed.", f"HTTP status {status_code}."))


def _is_last(event: Event) -> bool:
    if isinstance(event, EvidenceFound):
        return not event.provisional
    return isinstance(event, GenerationDone | BackendFailed)


async def _lines(reply: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """Yield the lines of the body; the client's own splitter also cuts at U+2028 inside a text."""
    rest = b""
    async with closing(reply.aiter_bytes()) as chunks:
        async for chunk in chunks:
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
