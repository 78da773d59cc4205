"""The engine's server and client over a real socket, with a generator that counts its steps."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest

from medqa_tui import __version__
from medqa_tui.backend import GenerateEvent, GenerateRequest
from medqa_tui.config.schema import EngineSettings, Settings
from medqa_tui.domain import GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.engine import connect, host, transport, wire
from medqa_tui.engine.client import EngineBackend, use_adapter
from medqa_tui.engine.local import LocalBackend
from medqa_tui.engine.parts import Part, Parts
from medqa_tui.engine.server import Engine, build_app
from medqa_tui.engine.status import EngineState
from medqa_tui.engine.transport import EngineRecord, Transport
from medqa_tui.errors import BrokenDeviceError, EngineError, MedQAError
from medqa_tui.events import (
    BackendFailed,
    Event,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)
from medqa_tui.models.active import Active
from medqa_tui.paths import Paths

QUESTION = "a question about haemorrhoids"
DEADLINE_S = 30.0


@dataclass
class Counter:
    """A generator that writes one token a permit, and looks for a stop between two of them."""

    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    steps: int = 0
    ended: int = 0
    breaks_after: int | None = None
    adapters: list[Path | None] = field(default_factory=list)
    info = ModelInfo("starter", device="cpu")

    def use_adapter(self, adapter_dir: Path | None) -> None:
        if adapter_dir and adapter_dir.name == "unfit":
            raise MedQAError("This adapter does not fit the model.", "unfit")
        self.adapters.append(adapter_dir)

    def stream(
        self, request: GenerateRequest, cancel: threading.Event
    ) -> Iterator[Notice | Token | GenerationDone]:
        written = 0
        while written < request.max_new_tokens and not cancel.is_set():
            if written == self.breaks_after:
                raise BrokenDeviceError("The GPU failed while it was computing.")
            if self.permits.acquire(timeout=0.01):
                written += 1
                self.steps += 1
                yield Token(request.turn, f"{written} ")
        self.ended += 1
        yield GenerationDone(
            request.turn,
            "",
            GeneratorKind.MODEL,
            ModelInfo("starter", generator=GeneratorKind.MODEL),
            TokenCounts(0, written),
            "cancelled" if cancel.is_set() else "length",
        )


class CountingBackend(LocalBackend):
    """The real backend with the counter in the model's place."""

    def __init__(self, paths: Paths, settings: Settings, counter: Counter) -> None:
        super().__init__(paths, settings)
        active = Active("starter", "b", "g", "e", "i")
        active.write(paths)
        self._parts = Parts(paths, settings, active)
        loaded: Future[object] = Future()
        loaded.set_result(counter)
        self._parts._futures[Part.GENERATOR] = loaded
        self._counter = counter

    async def _with_model(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[GenerateEvent, None]:
        async with aclosing(self._draft(lambda: self._counter, request, cancel)) as events:
            async for event in events:
                yield event


@dataclass
class Running:
    """A server of this very process."""

    paths: Paths
    engine: Engine
    counter: Counter
    kind: Transport

    def client(self) -> EngineBackend:
        return EngineBackend(self.paths, self.engine.backend.settings)


@pytest.fixture
def folders() -> Iterator[Paths]:
    # Short, and not pytest's own, so that the socket lies in the runtime folder itself.
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="mq"))
    yield Paths(*(home / name for name in ("config", "data", "cache", "state", "run")))
    shutil.rmtree(home)


@pytest.fixture(params=list(Transport))
async def running(folders: Paths, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    kind: Transport = request.param
    counter = Counter()
    backend = CountingBackend(folders, Settings(engine=EngineSettings(queue=1)), counter)
    engine = Engine(backend, None, lambda: f"print of {backend.parts.active.adapter}")
    transport.private_folder(folders.run)
    token = transport.write_token(folders) if kind is Transport.PORT else ""
    listener, location = transport.bind(folders, kind)
    server = host._server(build_app(engine, token), engine.stop)
    listener.listen()
    transport.write_record(folders, EngineRecord(1, __version__, kind, location))
    serving = asyncio.ensure_future(server._serve([listener]))
    yield Running(folders, engine, counter, kind)
    engine.stop()
    server.should_exit = True
    await serving


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another thread or task brings about."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition lies in a thread
            await asyncio.sleep(0.005)


def asked(turn: str, tokens: int = 1000) -> GenerateRequest:
    return GenerateRequest(turn, QUESTION, (), max_new_tokens=tokens, generator="model")


async def test_tokens_stream_one_by_one_and_carry_their_turn(running: Running) -> None:
    client = running.client()
    stream = client.generate(asked("t1", 3), asyncio.Event())
    seen: list[Event] = []
    for number in range(3):
        running.counter.permits.release()
        seen.append(await anext(stream))
        assert running.counter.steps == number + 1
    seen += [event async for event in stream]
    assert [event.type for event in seen] == ["token", "token", "token", "generated"]
    assert {event.turn for event in seen} == {"t1"}
    await client.aclose()


async def test_hanging_up_ends_the_draft_without_another_token(running: Running) -> None:
    client, cancel = running.client(), asyncio.Event()
    running.counter.permits.release(3)
    seen: list[Event] = []
    async for event in client.generate(asked("t1"), cancel):
        seen.append(event)
        if isinstance(event, Token) and event.text == "3 ":
            cancel.set()
    last = seen[-1]
    assert isinstance(last, GenerationDone)
    assert (last.finish, last.text) == ("cancelled", "1 2 3 ")
    await until(lambda: running.counter.ended == 1)
    assert running.counter.steps == 3
    await until(lambda: not running.engine.activity.busy)
    await client.aclose()


async def test_closing_the_iterator_early_ends_the_draft_too(running: Running) -> None:
    client = running.client()
    running.counter.permits.release(1)
    async with aclosing(client.generate(asked("t1"), asyncio.Event())) as stream:
        assert isinstance(await anext(stream), Token)
    await until(lambda: running.counter.ended == 1)
    assert running.counter.steps == 1
    await client.aclose()


async def test_one_draft_at_a_time_and_the_others_are_told(running: Running) -> None:
    first, second, third = (running.client() for _ in range(3))
    one = first.generate(asked("t1", 2), asyncio.Event())
    running.counter.permits.release(1)
    assert isinstance(await anext(one), Token)
    two = second.generate(asked("t2", 1), asyncio.Event())
    waits = await anext(two)
    assert isinstance(waits, StatusChanged)
    assert (waits.turn, waits.phase) == ("t2", "waiting")
    assert running.engine.status().queue == 1
    refused = [event async for event in third.generate(asked("t3"), asyncio.Event())]
    assert isinstance(refused[0], BackendFailed)
    assert "busy" in refused[0].failure.title
    running.counter.permits.release(2)
    assert [event.turn async for event in one] == ["t1", "t1"]
    rest = [event async for event in two]
    assert [type(event) for event in rest] == [Token, GenerationDone]
    for client in (first, second, third):
        await client.aclose()


async def test_who_hangs_up_in_the_line_leaves_it(running: Running) -> None:
    first, second = running.client(), running.client()
    running.counter.permits.release(1)
    one = first.generate(asked("t1"), asyncio.Event())
    await anext(one)
    async with aclosing(second.generate(asked("t2"), asyncio.Event())) as two:
        await anext(two)
        assert running.engine.backend.line.waiting == 1
    await until(lambda: running.engine.backend.line.waiting == 0)
    await one.aclose()
    for client in (first, second):
        await client.aclose()


async def test_places_in_the_line_are_told_and_kept(running: Running) -> None:
    running.engine.backend.line._limit = 3
    mine, other = running.client(), running.client()
    running.counter.permits.release(1)
    one = mine.generate(asked("t1", 2), asyncio.Event())
    assert isinstance(await anext(one), Token)
    two = other.generate(asked("t2", 1), asyncio.Event())
    # A second question of the first front end stands behind whoever came before it.
    three = mine.generate(asked("t3", 1), asyncio.Event())
    waits = [await anext(two), await anext(three)]
    assert [wait.message for wait in waits if isinstance(wait, StatusChanged)] == [
        "Waiting for another answer.",
        "Waiting for 2 other answers.",
    ]
    running.counter.permits.release(2)
    assert [type(event) async for event in one] == [Token, GenerationDone]
    moved = await anext(three)
    assert isinstance(moved, StatusChanged)
    assert moved.message == "Waiting for another answer."
    # The one before it hangs up; the other goes on.
    await two.aclose()
    running.counter.permits.release(1)
    rest = [event async for event in three]
    assert isinstance(rest[-1], GenerationDone)
    assert rest[-1].finish == "length"
    for client in (mine, other):
        await client.aclose()


async def test_an_engine_whose_gpu_is_lost_says_so_and_leaves(running: Running) -> None:
    running.counter.breaks_after = 0
    client = running.client()
    record = transport.read_record(running.paths)
    assert record is not None
    async with connect.async_client(running.paths, record) as raw:
        reply = await raw.post("/v1/generate", content=wire.encode(asked("t1")))
        lines = [json.loads(line) for line in reply.text.splitlines()]
        again = await raw.post("/v1/generate", content=wire.encode(asked("t2")))
    assert [line["code"] for line in lines] == [wire.ENGINE_BROKEN]
    assert "GPU" in lines[0]["message"]
    assert again.status_code == 503
    assert running.engine.status().state is EngineState.STOPPING
    async with asyncio.timeout(DEADLINE_S):
        await running.engine.activity.until_idle()
    await client.aclose()


async def test_a_gpu_that_is_lost_in_mid_answer_ends_the_answer_in_words(running: Running) -> None:
    running.counter.breaks_after = 1
    running.counter.permits.release(1)
    client = running.client()
    events = [event async for event in client.generate(asked("t1"), asyncio.Event())]
    assert isinstance(events[0], Token)
    last = events[-1]
    assert isinstance(last, BackendFailed)
    assert last.failure.detail == "The GPU failed while it was computing."
    await client.aclose()


async def test_what_nobody_foresaw_is_said_without_its_words(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise AttributeError(QUESTION)

    monkeypatch.setattr(running.engine.backend.line, "join", lambda _: fail())
    client = running.client()
    (event,) = [event async for event in client.generate(asked("t1"), asyncio.Event())]
    assert isinstance(event, BackendFailed)
    assert event.failure.detail == "AttributeError."
    await client.aclose()


async def test_an_adapter_is_switched_and_the_fingerprint_follows(running: Running) -> None:
    active = running.engine.backend.parts.active
    replace(active, adapter="mine").write(running.paths)
    assert await asyncio.to_thread(use_adapter, running.paths, "mine")
    assert running.counter.adapters == [running.paths.adapters / "mine"]
    assert running.engine.status().fingerprint == "print of mine"
    # What is in use already is not put on again.
    assert await asyncio.to_thread(use_adapter, running.paths, "mine")
    assert len(running.counter.adapters) == 1
    active.write(running.paths)
    assert await asyncio.to_thread(use_adapter, running.paths, None)
    assert running.counter.adapters[-1] is None


async def test_an_adapter_of_another_profile_is_not_put_on(running: Running) -> None:
    assert not await asyncio.to_thread(use_adapter, running.paths, "theirs")
    assert running.counter.adapters == []


async def test_an_adapter_that_does_not_fit_leaves_the_one_before(running: Running) -> None:
    replace(running.engine.backend.parts.active, adapter="unfit").write(running.paths)
    with pytest.raises(EngineError, match="does not fit"):
        await asyncio.to_thread(use_adapter, running.paths, "unfit")
    assert running.engine.backend.parts.active.adapter is None
    assert running.engine.status().fingerprint == "print of None"


def test_without_an_engine_no_adapter_is_switched(folders: Paths) -> None:
    assert not use_adapter(folders, "mine")


async def test_stopping_tells_whoever_listens(running: Running) -> None:
    client = running.client()
    running.counter.permits.release(1)
    stream = client.generate(asked("t1"), asyncio.Event())
    await anext(stream)
    status = await asyncio.to_thread(connect.ask_to_stop, running.paths)
    assert status is not None
    assert status.state is EngineState.STOPPING
    rest = [event async for event in stream]
    assert isinstance(rest[-1], BackendFailed)
    assert "stopped" in rest[-1].failure.title
    await client.aclose()


async def test_an_engine_that_waits_to_leave_still_finishes_its_work(running: Running) -> None:
    client = running.client()
    running.counter.permits.release(1)
    stream = client.generate(asked("t1", 2), asyncio.Event())
    await anext(stream)
    await asyncio.to_thread(connect.ask_to_stop, running.paths, "idle")
    running.counter.permits.release(1)
    rest = [event async for event in stream]
    assert [type(event) for event in rest] == [Token, GenerationDone]
    await client.aclose()


async def test_status_answers_while_a_draft_is_written(running: Running) -> None:
    client = running.client()
    running.counter.permits.release(1)
    stream = client.generate(asked("t1"), asyncio.Event())
    await anext(stream)
    status = await asyncio.to_thread(connect.status, running.paths)
    assert status is not None
    assert status.busy
    assert status.memory > 0
    assert status.version == __version__
    await stream.aclose()
    await client.aclose()


async def test_a_request_that_makes_no_sense_is_refused_without_repeating_it(
    running: Running,
) -> None:
    record = transport.read_record(running.paths)
    assert record is not None
    async with connect.async_client(running.paths, record) as client:
        reply = await client.post("/v1/generate", content=f'{{"question": "{QUESTION}"}}')
    assert reply.status_code == 400
    assert "did not understand" in reply.json()["title"]
    assert "haemorrhoids" not in reply.text


@pytest.mark.parametrize("running", [Transport.PORT], indirect=True)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic x"])
async def test_a_port_is_closed_to_who_has_no_token(running: Running, header: str | None) -> None:
    record = transport.read_record(running.paths)
    assert record is not None
    headers = {"Authorization": header} if header else {}
    async with httpx2.AsyncClient(trust_env=False) as client:
        reply = await client.get(f"http://{record.location}/v1/status", headers=headers)
    assert reply.status_code == 401
    assert "token" in reply.json()["title"]
