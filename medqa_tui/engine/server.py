"""The engine's HTTP interface: a Starlette app around the backend that holds the models."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from medqa_tui import __version__, events
from medqa_tui.backend import GenerateRequest, GroundRequest, RetrieveRequest
from medqa_tui.domain import Failure
from medqa_tui.engine import wire
from medqa_tui.engine.keepalive import Activity
from medqa_tui.engine.parts import DOING, Part
from medqa_tui.engine.status import EngineState, EngineStatus, PartState
from medqa_tui.errors import MedQAError
from medqa_tui.events import BackendFailed, Event, GenerationDone, Notice

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from medqa_tui.engine.local import LocalBackend

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
StopWhen = Literal["now", "idle"]
T = TypeVar("T")


class Engine:
    """The running engine: its backend, what it is busy with, and whether it is leaving."""

    def __init__(
        self,
        backend: LocalBackend,
        keep_alive: float | None,
        fingerprint: str | Callable[[], str],
    ) -> None:
        self.backend = backend
        self.activity = Activity(keep_alive)
        self.stopping = False
        self._closed = False
        self._fingerprint = fingerprint if callable(fingerprint) else lambda: fingerprint
        self.renew()
        self._started = time.monotonic()
        self._cancels: set[asyncio.Event] = set()

    def renew(self) -> None:
        """Take note that something else is in use now; this engine serves whoever wants that."""
        self.fingerprint = self._fingerprint()

    def status(self) -> EngineStatus:
        """Return what the engine is doing now; takes no time, whatever is being loaded."""
        parts = self.backend.parts
        states = {part: parts.state(part) for part in Part}
        model = parts.loaded(Part.GENERATOR)
        return EngineStatus(
            version=__version__,
            pid=os.getpid(),
            state=self._state(states),
            doing=self._doing(states),
            profile=self.backend.settings.profile,
            device=model.info.device if model else None,
            parts={part.value: state.value for part, state in states.items()},
            problem=" ".join(filter(None, (parts.problem(part) for part in Part))),
            busy=self.activity.busy,
            queue=self.backend.line.waiting,
            idle_seconds=round(self.activity.idle_seconds, 3),
            keep_alive=self.activity.keep_alive,
            uptime=round(time.monotonic() - self._started, 3),
            memory=_memory(),
            gpu_memory=_gpu_memory(),
            fingerprint=self.fingerprint,
        )

    def stop(self, when: StopWhen = "now") -> None:
        """Leave: now, cutting short what is being written, or once there is nothing to do."""
        self.stopping = True
        if when == "now":
            self._closed = True
            for cancel in self._cancels:
                cancel.set()
        self.activity.drain(at_once=self._closed)

    def admit(self) -> None:
        """Let a request in.

        Raises:
            EngineError: The engine is on its way out.
        """
        if self._closed:
            raise wire.error_of(STOPPED)

    async def stream(
        self,
        request: Request,
        turn: str,
        start: Callable[[asyncio.Event], AsyncGenerator[Event, None]],
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        """Send what the backend yields, and cancel it as soon as the other side hangs up."""
        cancel = asyncio.Event()
        self._cancels.add(cancel)
        watcher = asyncio.create_task(_hung_up(request, cancel))
        try:
            with self.activity.work():
                async with aclosing(start(cancel)) as stream:
                    async for event in stream:
                        if self.is_broken():
                            await send(self._farewell(event.turn))
                            return
                        await send(self._told(event))
        except Exception as error:
            if cancel.is_set():
                raise
            log.error("a request failed", exc_info=error)
            await send(BackendFailed(turn, _unforeseen(error)))
        finally:
            watcher.cancel()
            self._cancels.discard(cancel)

    def is_broken(self) -> bool:
        """Return whether only a new process can go on; if so, this one is about to leave."""
        broken = self.backend.broken
        if broken is not None and not self._closed:
            log.error("fatal: %s", " ".join(filter(None, (broken.title, broken.detail))))
            self.stop()
        return broken is not None

    def _farewell(self, turn: str) -> Notice:
        """Return the last words of a stream that has no end: its front end asks a new engine."""
        broken = self.backend.broken
        return Notice(turn, wire.ENGINE_BROKEN, broken.title if broken else "")

    def _told(self, event: Event) -> Event:
        """Return the event, or why it is the last one if the engine itself cut it short."""
        cut = isinstance(event, GenerationDone) and event.finish == "cancelled" and self.stopping
        return BackendFailed(event.turn, STOPPED) if cut else event

    def _state(self, states: dict[Part, PartState]) -> EngineState:
        if self.stopping:
            return EngineState.STOPPING
        going_on = {PartState.WAITING, PartState.LOADING}
        return EngineState.LOADING if going_on & set(states.values()) else EngineState.READY

    def _doing(self, states: dict[Part, PartState]) -> str:
        if self.stopping:
            return "Leaving."
        for part, state in states.items():
            if state in (PartState.WAITING, PartState.LOADING):
                return DOING[part]
        return "Writing an answer." if self.activity.busy else "Ready."


STOPPED = Failure(
    "The engine was stopped while it was answering.", "", "Ask again; it starts by itself."
)


def _unforeseen(error: Exception) -> Failure:
    # Without its words, which may be the question's.
    title = "The engine failed while it was answering."
    return Failure(title, f"{type(error).__name__}.", "medqa-tui engine logs")


class _Stream(Response):
    """An NDJSON response whose events come from the backend.

    Starlette's own streaming response leaves it to chance when the generator behind it is closed.
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        turn: str,
        start: Callable[[asyncio.Event], AsyncGenerator[Event, None]],
    ) -> None:
        super().__init__(media_type=NDJSON)
        self._engine, self._request, self._turn, self._start = engine, request, turn, start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", NDJSON.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def line(event: Event) -> None:
            body = events.to_json(event).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

        await self._engine.stream(self._request, self._turn, self._start, line)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def build_app(engine: Engine, token: str = "") -> ASGIApp:
    """Return the app; with a `token`, every request has to carry it.

    Routes: GET /v1/status; POST /v1/retrieve and /v1/generate (NDJSON streams of events),
    /v1/ground, /v1/adapter and /v1/stop.
    """

    async def refuse(request: Request, error: MedQAError) -> Response:
        # The front end asks a new engine then.
        leaving = error.title == STOPPED.title or engine.is_broken()
        return _failed(wire.failure_of(error), 503 if leaving else 400)

    handlers: dict[Any, Any] = {MedQAError: refuse, ValueError: _misunderstood}
    app: ASGIApp = Starlette(routes=_Answers(engine).routes(), exception_handlers=handlers)
    return _Guard(app, token) if token else app


class _Answers:
    """What the engine says to each route."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._backend = engine.backend

    def routes(self) -> list[Route]:
        return [
            Route("/v1/status", self._status, methods=["GET"]),
            Route("/v1/retrieve", self._retrieve, methods=["POST"]),
            Route("/v1/generate", self._generate, methods=["POST"]),
            Route("/v1/ground", self._ground, methods=["POST"]),
            Route("/v1/adapter", self._adapter, methods=["POST"]),
            Route("/v1/stop", self._stop, methods=["POST"]),
        ]

    async def _status(self, request: Request) -> Response:
        return JSONResponse(self._engine.status().to_record())

    async def _retrieve(self, request: Request) -> Response:
        asked = await self._asked(RetrieveRequest, request)
        start = partial(self._backend.retrieve, asked)
        return _Stream(self._engine, request, asked.turn, start)

    async def _generate(self, request: Request) -> Response:
        asked = await self._asked(GenerateRequest, request)
        start = partial(self._backend.generate, asked)
        return _Stream(self._engine, request, asked.turn, start)

    async def _ground(self, request: Request) -> Response:
        asked = await self._asked(GroundRequest, request)
        with self._engine.activity.work():
            result = await self._backend.ground(asked)
        return Response(wire.encode(result), media_type="application/json")

    async def _adapter(self, request: Request) -> Response:
        asked = await self._asked(wire.AdapterRequest, request)
        with self._engine.activity.work():
            in_use = await self._backend.use_adapter(asked.name)
        self._engine.renew()
        return JSONResponse({"adapter": in_use})

    async def _stop(self, request: Request) -> Response:
        self._engine.stop("idle" if request.query_params.get("when") == "idle" else "now")
        return JSONResponse(self._engine.status().to_record())

    async def _asked(self, kind: type[T], request: Request) -> T:
        """Return what is asked for, if the engine still lets requests in."""
        self._engine.admit()
        return wire.decode(kind, await request.body())


class _Guard:
    """Turns away whoever does not know the token: a loopback port is open to every local user."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] != "http" or not hmac.compare_digest(given, self._expected):
            failure = Failure("The engine's token is missing or wrong.")
            await _failed(failure, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _hung_up(request: Request, cancel: asyncio.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancel.set()


def _misunderstood(request: Request, error: ValueError) -> Response:
    # The error's own words repeat the request, and with it the question.
    return _failed(Failure("The engine did not understand the request.", type(error).__name__), 400)


def _failed(failure: Failure, status: int) -> Response:
    return Response(wire.encode(failure), status, media_type="application/json")


def _memory() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _gpu_memory() -> int | None:
    import sys

    # Asking must not be what imports torch.
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not getattr(cuda, "is_initialized", lambda: False)():
        return None
    return int(cuda.memory_reserved())
