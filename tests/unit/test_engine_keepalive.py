"""How long the engine stays."""

from __future__ import annotations

import asyncio

import pytest

from medqa_tui.engine import keepalive
from medqa_tui.engine.keepalive import Activity, parse_keep_alive
from medqa_tui.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        (" 2 M ", 120.0),
        ("1.5m", 90.0),
        ("45", 45.0),
        ("forever", None),
        ("Forever", None),
        ("-1", None),
    ],
)
def test_a_length_of_time_is_understood(text: str, seconds: float | None) -> None:
    assert parse_keep_alive(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 minutes ago", "-5m", "m", "5x", "1e9s"])
def test_anything_else_is_refused_with_the_key_and_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_keep_alive(text)
    assert "engine.keep_alive" in caught.value.detail
    assert "config set engine.keep_alive" in caught.value.hint


@pytest.fixture
def no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "_BETWEEN_REQUESTS_S", 0.0)
    monkeypatch.setattr(keepalive, "_FIRST_WORK_S", 0.0)


async def settles(activity: Activity) -> bool:
    """Return whether the engine may leave now, without any time passing."""
    waiting = asyncio.ensure_future(activity.until_idle())
    for _ in range(10):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


@pytest.mark.usefixtures("no_gaps")
async def test_zero_leaves_after_the_last_work_and_not_before() -> None:
    activity = Activity(0.0)
    assert not await settles(activity), "it still loads"
    activity.loaded()
    with activity.work(), activity.work():
        assert activity.busy
        assert not await settles(activity)
    assert not activity.busy
    assert await settles(activity)


async def test_zero_stays_for_the_question_it_was_started_for() -> None:
    activity = Activity(0.0)
    activity.loaded()
    assert not await settles(activity)


@pytest.mark.usefixtures("no_gaps")
async def test_forever_leaves_only_when_asked() -> None:
    activity = Activity(None)
    activity.loaded()
    with activity.work():
        pass
    assert not await settles(activity)
    activity.drain()
    assert await settles(activity)


async def test_leaving_at_once_waits_for_the_work_that_goes_on() -> None:
    activity = Activity(300.0)
    with activity.work():
        activity.drain(at_once=True)
        assert not await settles(activity)
    assert await settles(activity)


async def test_an_engine_that_never_worked_leaves_when_asked_even_while_it_loads() -> None:
    activity = Activity(300.0)
    activity.drain()
    assert await settles(activity)
