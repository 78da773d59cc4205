"""The backend that holds the models, in this process, with tiny models."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.backend import GenerateRequest, GroundRequest, RetrieveRequest
from medqa_tui.config.schema import EngineSettings, Settings
from medqa_tui.domain import Evidence, GeneratorKind, Passage, Support
from medqa_tui.engine.client import open_backend
from medqa_tui.engine.local import LocalBackend
from medqa_tui.engine.parts import Part
from medqa_tui.engine.status import PartState
from medqa_tui.errors import NotSetUpError
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

from .engine_home import home_paths, make_home, save_reranker

QUESTION = "What are the symptoms of type 2 diabetes?"
SETTINGS = Settings(engine=EngineSettings(device="cpu", threads=1))
EVIDENCE = (
    Evidence(
        1,
        Passage(
            "c:d#0",
            "c",
            "d",
            "Type 2 diabetes",
            "Symptoms of type 2 diabetes are thirst, tiredness and frequent urination. "
            "Many people have no symptoms at first.",
        ),
    ),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("local") / "home"
    make_home(home)
    return home


@pytest.fixture
def paths(source: Path, tmp_path: Path) -> Paths:
    return home_paths(Path(shutil.copytree(source, tmp_path / "home")))


@pytest.fixture
def backend(paths: Paths) -> LocalBackend:
    return LocalBackend(paths, SETTINGS)


@pytest.fixture
def gate(backend: LocalBackend) -> Iterator[threading.Event]:
    """Hold back everything that is loaded after the lexical index."""
    opened = threading.Event()
    backend.parts.want(Part.LEXICAL)
    backend.parts._worker.submit(opened.wait)
    yield opened
    opened.set()


async def everything(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


def draft(generator: str = "auto", tokens: int = 8) -> GenerateRequest:
    return GenerateRequest("t", QUESTION, EVIDENCE, (), generator, tokens)  # type: ignore[arg-type]


def use_reranker(paths: Paths, name: str) -> None:
    active = load_active(paths)
    assert active is not None
    replace(active, reranker=name).write(paths)


def without_engine() -> Settings:
    return Settings(engine=EngineSettings(enabled=False))


def test_no_engine_means_this_process(paths: Paths) -> None:
    assert isinstance(open_backend(paths, SETTINGS, in_process=True), LocalBackend)
    assert isinstance(open_backend(paths, without_engine()), LocalBackend)


async def test_a_model_that_could_not_be_loaded_is_tried_again(
    backend: LocalBackend, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = paths.models / "tiny-llama" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(b"broken")
    request = GenerateRequest("t", QUESTION, EVIDENCE, max_new_tokens=4)
    first = [event async for event in backend.generate(request, asyncio.Event())]
    assert isinstance(first[-1], GenerationDone)
    assert first[-1].generator is GeneratorKind.EXTRACTIVE
    weights.write_bytes(good)
    monkeypatch.setattr("medqa_tui.engine.parts._RETRY_S", -1.0)
    again = [event async for event in backend.generate(request, asyncio.Event())]
    assert isinstance(again[-1], GenerationDone)
    assert again[-1].generator is GeneratorKind.MODEL


async def test_words_answer_first_and_meaning_follows(
    backend: LocalBackend, gate: threading.Event
) -> None:
    stream = backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event())
    seen: list[Event] = []
    async for event in stream:
        seen.append(event)
        if isinstance(event, EvidenceFound) and event.provisional:
            assert backend.parts.state(Part.EMBEDDER) is PartState.WAITING
            gate.set()
    first, last = (event for event in seen if isinstance(event, EvidenceFound))
    assert (first.provisional, last.provisional) == (True, False)
    assert first.evidence[0].scores.bm25 is not None
    assert first.evidence[0].scores.dense is None
    assert last.evidence[0].scores.dense is not None
    assert StatusChanged("t", "load", "Loading the embedder.") in seen


async def test_a_search_by_words_waits_for_nothing(
    backend: LocalBackend, gate: threading.Event
) -> None:
    request = RetrieveRequest("t", QUESTION, k=3, mode="bm25")
    seen = await everything(backend.retrieve(request, asyncio.Event()))
    assert isinstance(seen[-1], EvidenceFound)
    assert len(seen[-1].evidence) == 3
    assert not gate.is_set()


async def test_cancel_ends_the_wait_for_a_model(
    backend: LocalBackend, gate: threading.Event
) -> None:
    cancel = asyncio.Event()
    seen: list[Event] = []
    async for event in backend.generate(draft(), cancel):
        seen.append(event)
        if isinstance(event, StatusChanged):
            cancel.set()
    assert not gate.is_set()
    assert isinstance(seen[-1], GenerationDone)
    assert seen[-1].finish == "cancelled"


async def test_cancel_ends_a_search(backend: LocalBackend, gate: threading.Event) -> None:
    cancel = asyncio.Event()
    seen: list[Event] = []
    async for event in backend.retrieve(RetrieveRequest("t", QUESTION), cancel):
        seen.append(event)
        if isinstance(event, EvidenceFound):
            cancel.set()
    assert not gate.is_set()
    assert [event.provisional for event in seen if isinstance(event, EvidenceFound)] == [True]


async def test_only_what_is_needed_is_loaded(backend: LocalBackend) -> None:
    await everything(backend.prepare("t"))
    await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert backend.parts.state(Part.GENERATOR) is PartState.UNLOADED


async def test_the_extractive_generator_needs_no_model(backend: LocalBackend) -> None:
    seen = await everything(backend.generate(draft("extractive", 160), asyncio.Event()))
    done = seen[-1]
    assert isinstance(done, GenerationDone)
    assert done.generator is GeneratorKind.EXTRACTIVE
    assert "thirst" in done.text
    assert backend.parts.state(Part.GENERATOR) is PartState.UNLOADED
    sentence = done.text.split(".")[0] + ". [1]"
    checked = await backend.ground(GroundRequest("t", QUESTION, (sentence,), EVIDENCE))
    assert checked.sentences[0].support is Support.SUPPORTED
    assert checked.sentences[0].citations == (1,)


async def test_two_drafts_of_one_process_take_turns(backend: LocalBackend) -> None:
    first, second = await asyncio.gather(
        everything(backend.generate(draft("model"), asyncio.Event())),
        everything(backend.generate(replace(draft("model"), turn="u"), asyncio.Event())),
    )
    assert StatusChanged("u", "waiting", "Waiting for another answer.") in second
    for seen in (first, second):
        assert isinstance(seen[-1], GenerationDone)
        assert seen[-1].model.device == "cpu"


async def test_a_cancelled_draft_keeps_what_was_written(backend: LocalBackend) -> None:
    cancel = asyncio.Event()
    request = GenerateRequest(
        "t", QUESTION, EVIDENCE, (), "model", 3000, temperature=1.5, prompt_lookup=0
    )
    seen: list[Event] = []
    async for event in backend.generate(request, cancel):
        seen.append(event)
        if isinstance(event, Token):
            cancel.set()
    done = seen[-1]
    assert isinstance(done, GenerationDone)
    assert done.finish == "cancelled"
    assert done.text == "".join(event.text for event in seen if isinstance(event, Token))
    assert 0 < done.tokens.completion < 3000


@pytest.fixture
def broken_model(paths: Paths) -> LocalBackend:
    (paths.models / "tiny-llama" / "model.safetensors").write_bytes(b"broken")
    return LocalBackend(paths, SETTINGS)


async def test_a_model_that_is_asked_for_by_name_has_to_be_there(
    broken_model: LocalBackend,
) -> None:
    seen = await everything(broken_model.generate(draft("model"), asyncio.Event()))
    assert isinstance(seen[-1], BackendFailed)
    assert seen[-1].failure.title
    assert seen[-1].failure.hint


async def test_otherwise_the_evidence_is_quoted_and_the_reason_said(
    broken_model: LocalBackend,
) -> None:
    seen = await everything(broken_model.generate(draft(tokens=160), asyncio.Event()))
    (notice,) = [event for event in seen if isinstance(event, Notice)]
    assert notice.code == "extractive"
    assert "quotes its evidence" in notice.message
    assert isinstance(seen[-1], GenerationDone)
    assert seen[-1].generator is GeneratorKind.EXTRACTIVE


async def test_without_an_embedder_words_are_searched(paths: Paths) -> None:
    shutil.rmtree(paths.models / "tiny-bert")
    backend = LocalBackend(paths, SETTINGS)
    seen = await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert [event.code for event in seen if isinstance(event, Notice)] == ["lexical_only"]
    assert isinstance(seen[-1], EvidenceFound)
    assert seen[-1].evidence


async def test_a_reranker_is_loaded_where_one_is_installed(paths: Paths) -> None:
    save_reranker(paths.models / "tiny-cross", [QUESTION])
    use_reranker(paths, "tiny-cross")
    backend = LocalBackend(paths, SETTINGS)
    seen = await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert isinstance(seen[-1], EvidenceFound)
    assert all(item.scores.rerank is not None for item in seen[-1].evidence)
    request = RetrieveRequest("t", QUESTION, rerank=False)
    seen = await everything(backend.retrieve(request, asyncio.Event()))
    assert isinstance(seen[-1], EvidenceFound)
    assert all(item.scores.rerank is None for item in seen[-1].evidence)


async def test_a_damaged_reranker_is_left_out_and_named(paths: Paths) -> None:
    use_reranker(paths, "not-there")
    backend = LocalBackend(paths, SETTINGS)
    seen = await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert [event.code for event in seen if isinstance(event, Notice)] == ["not_reranked"]
    assert isinstance(seen[-1], EvidenceFound)


async def test_without_an_index_there_is_nothing_to_search(paths: Paths) -> None:
    (paths.indexes / "tiny" / "manifest.json").unlink()
    backend = LocalBackend(paths, SETTINGS)
    seen = await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert isinstance(seen[-1], BackendFailed)
    assert "index" in seen[-1].failure.title
    assert seen[-1].failure.hint


async def test_an_unforeseen_error_is_told_without_its_words(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(QUESTION)

    await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    monkeypatch.setattr(backend.parts.loaded(Part.LEXICAL), "search", fail)
    with caplog.at_level(logging.ERROR):
        seen = await everything(backend.retrieve(RetrieveRequest("t", QUESTION), asyncio.Event()))
    assert isinstance(seen[-1], BackendFailed)
    assert seen[-1].failure.title == "The search failed."
    assert "diabetes" not in json.dumps([seen[-1].failure.title, seen[-1].failure.detail])
    assert all("diabetes" not in record.getMessage() for record in caplog.records)


async def test_nothing_is_loaded_for_a_profile_that_is_not_there(tmp_path: Path) -> None:
    backend = LocalBackend(home_paths(tmp_path), SETTINGS)
    with pytest.raises(NotSetUpError) as caught:
        await everything(backend.prepare("t"))
    assert caught.value.hint == "medqa-tui setup"
