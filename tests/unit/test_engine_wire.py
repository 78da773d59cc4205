"""What goes over the engine's socket, and what two engines are compared by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui import __version__
from medqa_tui.backend import GenerateRequest, GroundRequest, GroundResult, RetrieveRequest
from medqa_tui.config.schema import EngineSettings, Settings
from medqa_tui.domain import (
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Passage,
    Scores,
    Sentence,
    Support,
    TokenCounts,
    Turn,
)
from medqa_tui.engine import wire
from medqa_tui.engine.status import EngineState, EngineStatus, engine_overrides, fingerprint
from medqa_tui.errors import ExitCode, NotSetUpError
from medqa_tui.events import (
    BackendFailed,
    Event,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
    from_json,
    to_json,
)
from medqa_tui.paths import Paths

EVIDENCE = (
    Evidence(1, Passage("c:d#0", "c", "d", "Title", "A text\u2028of two lines."), Scores(0.5, 3.0)),
)
MODEL = ModelInfo("starter", "base", None, "nf4", "cpu", GeneratorKind.MODEL)


@pytest.mark.parametrize(
    "event",
    [
        StatusChanged("t", "load", "Loading.", 0.5),
        Notice("t", "code", "Said."),
        Token("t", "a\u2028b\n\u0085"),
        EvidenceFound("t", EVIDENCE, "query", relevant=False, provisional=True),
        GenerationDone("t", "text", GeneratorKind.MODEL, MODEL, TokenCounts(3, 4), "length", 1.0),
        BackendFailed("t", Failure("Title.", "detail", "hint", 3)),
    ],
    ids=lambda event: event.type,
)
def test_events_round_trip_on_one_line(event: Event) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert from_json(line.encode()) == event


@pytest.mark.parametrize(
    "value",
    [
        RetrieveRequest("t", "query", 3, ("a", "b"), "dense", rerank=False),
        GenerateRequest("t", "question", EVIDENCE, (Turn("q", "a"),), "model", temperature=0.5),
        GroundRequest("t", "question", ("One.", "Two. [1]"), EVIDENCE, GeneratorKind.EXTRACTIVE),
        GroundResult("t", (Sentence("One.", (1,), Support.PARTIAL, 0.5),)),
        Failure("Title.", "detail", "hint", 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_requests_and_replies_round_trip(value: object) -> None:
    assert wire.decode(type(value), wire.encode(value)) == value


def test_an_error_crosses_with_its_words_and_exit_code() -> None:
    error = NotSetUpError("Nothing is there.", "starter", "medqa-tui setup")
    back = wire.error_of(wire.failure_of(error))
    assert (back.title, back.detail, back.hint) == (error.title, error.detail, error.hint)
    assert back.exit_code is ExitCode.NOT_SET_UP


def test_a_foreign_body_tells_of_no_failure() -> None:
    assert wire.decode_failure(b"<html>") is None


STATUS = EngineStatus(
    __version__,
    7,
    EngineState.READY,
    parts={"lexical": "ready", "reranker": "absent", "generator": "failed"},
    fingerprint="f",
)


def test_a_status_round_trips() -> None:
    row = json.loads(json.dumps(STATUS.to_record()))
    assert EngineStatus.from_record(row) == STATUS
    assert STATUS.loaded == ("lexical",)


def test_the_status_of_another_version_is_understood_as_far_as_it_goes() -> None:
    row = {"version": "99.0", "pid": 7, "state": "dreaming", "colour": "blue"}
    status = EngineStatus.from_record(row)
    assert status.state is EngineState.UNKNOWN
    assert not status.serves("")


@pytest.mark.parametrize("row", [{}, {"pid": 7}, {"pid": "7", "version": "1"}])
def test_something_else_is_no_status(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the status"):
        EngineStatus.from_record(row)


def test_an_engine_serves_only_its_own_version_and_fingerprint() -> None:
    assert STATUS.serves("f")
    assert not STATUS.serves("g")
    assert not replace(STATUS, version="0.0.0").serves("f")
    assert not replace(STATUS, state=EngineState.STOPPING).serves("f")


def test_the_fingerprint_follows_settings_and_files(tmp_path: Path) -> None:
    paths = Paths(*(tmp_path / name for name in ("config", "data", "cache", "state", "run")))
    settings = Settings()
    first = fingerprint(paths, settings)
    assert first == fingerprint(paths, settings)
    other = settings.model_copy(update={"engine": EngineSettings(device="cpu")})
    assert fingerprint(paths, other) != first
    assert fingerprint(paths, settings.model_copy(update={"profile": "other"})) != first
    paths.data.mkdir()
    paths.active_file.write_text(
        json.dumps(
            {
                "schema_version": 1,
                "profile": "starter",
                "base": "b",
                "generator": "g",
                "embedder": "e",
                "index": "i",
            }
        )
    )
    active = fingerprint(paths, settings)
    assert active != first
    (paths.indexes / "i").mkdir(parents=True)
    (paths.indexes / "i" / "manifest.json").write_text("{}")
    assert fingerprint(paths, settings) != active


def test_what_is_handed_to_the_engine_are_known_settings() -> None:
    from medqa_tui.config.load import known_keys

    assert set(engine_overrides(Settings())) <= set(known_keys())
