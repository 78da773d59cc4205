"""A real engine process, with tiny models in a home of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from medqa_tui.backend import GenerateRequest, GroundRequest, RetrieveRequest
from medqa_tui.config import load_settings
from medqa_tui.domain import GeneratorKind
from medqa_tui.engine import connect, lifecycle, transport
from medqa_tui.engine.client import EngineBackend, open_backend
from medqa_tui.engine.status import EngineState
from medqa_tui.engine.transport import Transport
from medqa_tui.errors import EngineError, NotSetUpError
from medqa_tui.events import (
    BackendFailed,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)
from medqa_tui.models.active import load_active
from medqa_tui.paths import Paths

from .engines import (
    DEADLINE_S,
    QUESTION,
    SETTINGS,
    everything,
    evidence_of,
    lexical,
    long_draft,
    ready,
    settings_with,
    wait_for,
)


async def test_an_answer_starts_the_engine_and_comes_from_it(paths: Paths) -> None:
    backend = open_backend(paths, SETTINGS)
    assert isinstance(backend, EngineBackend)
    said = await everything(backend.prepare("t1"))
    assert [type(event) for event in said] == [StatusChanged]
    early = connect.status(paths)
    assert early is not None
    assert early.state is EngineState.LOADING
    assert early.doing.startswith(("Opening", "Loading"))
    assert "generator" not in early.loaded

    found = await everything(backend.retrieve(RetrieveRequest("t1", QUESTION), asyncio.Event()))
    kinds = [event.provisional for event in found if isinstance(event, EvidenceFound)]
    assert kinds == [True, False]
    last = found[-1]
    assert isinstance(last, EvidenceFound)
    assert last.evidence[0].scores.dense is not None

    request = GenerateRequest("t1", QUESTION, last.evidence, max_new_tokens=8, generator="model")
    drafted = await everything(backend.generate(request, asyncio.Event()))
    done = drafted[-1]
    assert isinstance(done, GenerationDone)
    assert done.model.generator is GeneratorKind.MODEL
    assert done.model.quantization == "nf4"
    assert done.text == "".join(event.text for event in drafted if isinstance(event, Token))
    assert {event.turn for event in [*said, *found, *drafted]} == {"t1"}

    sentence = last.evidence[0].passage.text.split(". ")[0] + "."
    checked = await backend.ground(GroundRequest("t1", QUESTION, (sentence,), last.evidence))
    assert len(checked.sentences) == 1

    assert await everything(backend.prepare("t2")) == [], "it is there already"
    status = ready(paths)
    assert status.loaded == ("lexical", "embedder", "generator")
    assert status.device in {"cpu", "cuda"}
    assert status.profile == "starter"
    await backend.aclose()

    log = transport.log_file(paths).read_text()
    assert "turn t1: model" in log
    assert "diabetes" not in log
    modes(paths)
    assert lifecycle.stop(paths)
    assert not lifecycle.stop(paths)
    assert not transport.engine_is_alive(paths)
    assert connect.status(paths) is None
    assert sorted(file.name for file in paths.run.iterdir()) == ["engine.lock", "start.lock"]


def is_socket(location: str) -> bool:
    return stat.S_ISSOCK(os.stat(location).st_mode)  # noqa: PTH116


def modes(paths: Paths) -> None:
    """Look at the modes of what a running engine keeps on disk."""
    record = transport.read_record(paths)
    assert record is not None
    socket = Path(record.location)
    for folder in (paths.run, paths.logs, socket.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    for file in (socket, *paths.run.iterdir(), *paths.logs.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_hanging_up_cancels_the_model(paths: Paths) -> None:
    backend, cancel = EngineBackend(paths, SETTINGS), asyncio.Event()
    await everything(backend.prepare("t"))
    request = long_draft(await evidence_of(backend))
    seen = 0
    async for event in backend.generate(request, cancel):
        if isinstance(event, Token):
            seen += 1
            cancel.set()
    assert seen == 1
    await backend.aclose()
    wait_for(lambda: "turn t: model, cancelled" in transport.log_file(paths).read_text())
    (line,) = [row for row in lifecycle.log_lines(paths, 20) if "turn t: model" in row]
    written = int(line.rsplit(", ", 1)[1].split()[0])
    assert written < request.max_new_tokens


async def test_no_keep_alive_means_that_it_leaves_after_its_work(paths: Paths) -> None:
    backend = EngineBackend(paths, settings_with(keep_alive="0"))
    await everything(backend.prepare("t"))
    assert await evidence_of(backend)
    await backend.aclose()
    wait_for(lambda: not transport.engine_is_alive(paths))
    assert transport.read_record(paths) is None
    assert "without work" in transport.log_file(paths).read_text()


async def test_a_killed_engine_leaves_nothing_in_the_way(paths: Paths) -> None:
    backend = EngineBackend(paths, SETTINGS)
    await everything(backend.prepare("t"))
    first = connect.status(paths)
    record = transport.read_record(paths)
    assert first is not None
    assert record is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: not transport.engine_is_alive(paths))
    assert is_socket(record.location)
    # The front end does not know yet: the search is repeated on a new engine, and says so.
    found = await everything(backend.retrieve(lexical(), asyncio.Event()))
    assert [event.code for event in found if isinstance(event, Notice)] == ["engine_restarted"]
    assert isinstance(found[-1], EvidenceFound)
    second = connect.status(paths)
    assert second is not None
    assert second.pid != first.pid
    await backend.aclose()


async def test_an_engine_killed_in_mid_draft_is_reported(paths: Paths) -> None:
    backend = EngineBackend(paths, SETTINGS)
    await everything(backend.prepare("t"))
    request = long_draft(await evidence_of(backend))
    status = connect.status(paths)
    assert status is not None
    last: Event | None = None
    killed = False
    async for event in backend.generate(request, asyncio.Event()):
        last = event
        if isinstance(event, Token) and not killed:
            os.kill(status.pid, signal.SIGKILL)
            killed = True
    assert isinstance(last, BackendFailed)
    assert last.failure.title == "The engine ended while it was answering."
    await backend.aclose()


def test_two_front_ends_at_once_get_one_engine(paths: Paths) -> None:
    command = [sys.executable, "-m", "medqa_tui", "engine", "start", "--json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    said = [json.loads(process.communicate(timeout=DEADLINE_S)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0]["pid"] == said[1]["pid"]
    assert said[0]["running"]


def test_other_files_mean_another_engine(paths: Paths) -> None:
    first = lifecycle.ensure_running(paths, SETTINGS)
    assert lifecycle.ensure_running(paths, SETTINGS).pid == first.pid
    active = load_active(paths)
    assert active
    replace(active, base="tests/other").write(paths)
    said: list[str] = []
    second = lifecycle.ensure_running(paths, SETTINGS, said.append)
    assert second.pid != first.pid
    assert said == [
        "Replacing an engine that runs with other settings or files.",
        "Starting the engine.",
    ]


def test_a_termination_signal_is_a_graceful_end(paths: Paths) -> None:
    status = lifecycle.ensure_running(paths, SETTINGS)
    process = psutil.Process(status.pid)
    process.terminate()
    process.wait(DEADLINE_S)
    assert transport.read_record(paths) is None
    assert lifecycle.log_lines(paths, 1)[0].endswith("engine stopped")


def test_a_hung_engine_is_ended(paths: Paths) -> None:
    status = lifecycle.ensure_running(paths, SETTINGS)
    process = psutil.Process(status.pid)
    process.suspend()
    # A stopped process does not even see a termination signal before it goes on.
    assert lifecycle.stop(paths, timeout=0.0)
    assert not transport.engine_is_alive(paths)


async def test_a_loopback_port_serves_as_well(paths: Paths) -> None:
    backend = EngineBackend(paths, SETTINGS, kind=Transport.PORT)
    await everything(backend.prepare("t"))
    record = transport.read_record(paths)
    assert record is not None
    assert record.transport is Transport.PORT
    assert stat.S_IMODE(transport.token_file(paths).stat().st_mode) == 0o600
    found = await everything(backend.retrieve(lexical(), asyncio.Event()))
    assert isinstance(found[-1], EvidenceFound)
    await backend.aclose()


def test_an_engine_that_cannot_start_says_why(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDQA_UI__COLOUR", "blue")
    with pytest.raises(EngineError) as caught:
        lifecycle.ensure_running(paths, SETTINGS)
    assert caught.value.title == "The engine ended before it could answer."
    assert "MEDQA_UI__COLOUR" in caught.value.detail
    assert "engine logs" in caught.value.hint


def test_nothing_is_started_for_a_profile_that_is_not_there(paths: Paths) -> None:
    with pytest.raises(NotSetUpError, match="other"):
        lifecycle.ensure_running(paths, SETTINGS.model_copy(update={"profile": "other"}))
    paths.active_file.unlink()
    with pytest.raises(NotSetUpError):
        lifecycle.ensure_running(paths, SETTINGS)
    assert not transport.engine_is_alive(paths)


async def test_an_engine_that_quotes_is_ready_without_a_model(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDQA_ANSWER__GENERATOR", "extractive")
    backend = EngineBackend(paths, load_settings())
    assert backend.quotes
    await everything(backend.prepare("t"))
    evidence = await evidence_of(backend)
    assert ready(paths).parts["generator"] == "unloaded"
    # What it was not started for is loaded when it is asked for.
    written = GenerateRequest("t", QUESTION, evidence, max_new_tokens=4, generator="model")
    drafted = await everything(backend.generate(written, asyncio.Event()))
    assert isinstance(drafted[-1], GenerationDone)
    assert ready(paths).parts["generator"] == "ready"
    await backend.aclose()


async def test_a_model_that_cannot_be_loaded_leaves_the_extractive_generator(
    paths: Paths,
) -> None:
    (paths.models / "tiny-llama" / "model.safetensors").write_bytes(b"broken")
    backend = EngineBackend(paths, SETTINGS)
    await everything(backend.prepare("t"))
    request = GenerateRequest("t", QUESTION, await evidence_of(backend))
    drafted = await everything(backend.generate(request, asyncio.Event()))
    assert "extractive" in [event.code for event in drafted if isinstance(event, Notice)]
    assert isinstance(drafted[-1], GenerationDone)
    assert drafted[-1].generator is GeneratorKind.EXTRACTIVE
    status = ready(paths)
    assert status.parts["generator"] == "failed"
    assert status.problem
    await backend.aclose()
