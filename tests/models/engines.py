"""What tests of a real engine process have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from medqa_tui.backend import GenerateRequest, RetrieveRequest
from medqa_tui.config.schema import EngineSettings, Settings
from medqa_tui.domain import Evidence
from medqa_tui.engine import connect
from medqa_tui.engine.client import EngineBackend
from medqa_tui.engine.status import EngineState, EngineStatus
from medqa_tui.events import Event, EvidenceFound
from medqa_tui.paths import Paths

QUESTION = "What are the symptoms of type 2 diabetes?"
DEADLINE_S = 120.0


def settings_with(**engine: object) -> Settings:
    return Settings(engine=EngineSettings.model_validate({"threads": 1, **engine}))


SETTINGS = settings_with()


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def ready(paths: Paths) -> EngineStatus:
    def is_ready() -> bool:
        status = connect.status(paths)
        return status is not None and status.state is EngineState.READY

    wait_for(is_ready)
    status = connect.status(paths)
    assert status is not None
    return status


async def everything(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


async def evidence_of(backend: EngineBackend, turn: str = "t") -> tuple[Evidence, ...]:
    found = await everything(backend.retrieve(RetrieveRequest(turn, QUESTION), asyncio.Event()))
    assert isinstance(found[-1], EvidenceFound)
    return found[-1].evidence


def lexical(turn: str = "t") -> RetrieveRequest:
    return RetrieveRequest(turn, QUESTION, mode="bm25", rerank=False)


def long_draft(evidence: tuple[Evidence, ...], turn: str = "t") -> GenerateRequest:
    # Hot, so that a random model neither repeats itself nor comes to an end.
    return GenerateRequest(
        turn, QUESTION, evidence, (), "model", 3000, temperature=1.5, prompt_lookup=0
    )
