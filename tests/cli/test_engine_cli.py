"""`medqa-tui engine`, as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Program


@pytest.fixture
def engine(small: Program, small_home: Path) -> Program:
    yield small
    small("engine", "stop")


def test_without_an_engine_everything_says_so(medqa: Program) -> None:
    done = medqa("engine", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No engine is running" in done.stderr
    assert json.loads(medqa("engine", "status", "--json").stdout) == {
        "schema_version": 1,
        "running": False,
    }
    stopped = medqa("engine", "stop")
    assert stopped.returncode == 0
    assert "No engine is running" in stopped.stderr
    assert medqa("engine", "logs").returncode == 0


def test_nothing_starts_before_setup(medqa: Program) -> None:
    done = medqa("engine", "start")
    assert done.returncode == 3
    assert "medqa-tui setup" in done.stderr


def test_start_status_logs_and_stop(engine: Program) -> None:
    started = engine("engine", "start", "--json")
    assert started.returncode == 0, started.stderr
    record = json.loads(started.stdout)
    assert record["schema_version"] == 1
    assert record["running"]
    assert record["profile"] == "starter"
    assert record["keep_alive"] == 300.0
    assert {"state", "doing", "queue", "idle_seconds", "memory", "loaded"} <= set(record)

    again = json.loads(engine("engine", "start", "--json").stdout)
    assert again["pid"] == record["pid"]

    shown = engine("engine", "status")
    assert shown.returncode == 0
    for word in ("State:", "Profile:", "Device:", "Memory:", "leaves after 300 s"):
        assert word in shown.stdout
    assert str(record["pid"]) in shown.stdout

    logs = engine("engine", "logs", "-n", "500")
    assert f"pid {record['pid']}" in logs.stdout
    assert len(engine("engine", "logs", "-n", "1").stdout.splitlines()) == 1
    lines = json.loads(engine("engine", "logs", "--json").stdout)
    assert lines["path"].endswith("engine.log")
    assert lines["lines"]

    stopped = json.loads(engine("engine", "stop", "--json").stdout)
    assert stopped == {"schema_version": 1, "running": False, "stopped": True}
    assert engine("engine", "status").returncode == 1


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("MEDQA_ENGINE__KEEP_ALIVE", "soon", "engine.keep_alive"),
        ("MEDQA_ENGINE__ENABLED", "false", "engine.enabled"),
    ],
)
def test_a_setting_that_forbids_it_is_a_usage_error(
    small: Program, variable: str, value: str, key: str
) -> None:
    done = small("engine", "start", **{variable: value})
    assert done.returncode == 2
    assert key in done.stderr
    assert "config set" in done.stderr
