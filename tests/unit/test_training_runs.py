"""What a training tells of itself: read by others while it runs, stopped by them, killed."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.training import curve
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.runs import (
    KEPT_POINTS,
    KEPT_RUNS,
    RunRecorder,
    RunState,
    ask_to_stop,
    read_runs,
)

CHILD = """
import sys, threading
from pathlib import Path
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.runs import RunRecorder

cancel = threading.Event()
folder = Path(sys.argv[1])
with RunRecorder(folder, "own", "generator", folder / "out", cancel) as record:
    record(TrainEvent("training", 5, 20, 1.5, 100.0, 60.0, "tokens"))
    record(TrainEvent("training", 5, 20, validation=1.25))
    print("told", flush=True)
    cancel.wait(60)
    raise Stopped(folder)
"""


def recorder(folder: Path, name: str = "own", **more: bool) -> RunRecorder:
    return RunRecorder(folder, name, "generator", folder / name, threading.Event(), **more)


def step(done: int, loss: float, total: int = 20) -> TrainEvent:
    return TrainEvent("training", done, total, loss, 100.0, 60.0, "tokens")


@pytest.fixture
def child(tmp_path):
    """A process that says how far it is, and waits to be asked to end."""
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == b"told\n"
        yield it
        it.kill()


def test_a_live_run_is_told_from_a_killed_one(child, tmp_path):
    (run,) = read_runs(tmp_path)
    assert (run.state, run.pid, run.phase) == (RunState.RUNNING, child.pid, "training")
    assert (run.step, run.total, run.losses) == (5, 20, ((5, 1.5),))
    assert run.validation == ((5, 1.25),)
    assert run.left_now(run.updated + 20) == 40
    assert run.left_now(run.updated + 90) == 0
    with pytest.raises(UsageError, match="under way"), recorder(tmp_path):
        pass
    assert read_runs(tmp_path) == (run,), "who was refused has changed nothing"
    child.send_signal(signal.SIGKILL)
    child.wait()
    (killed,) = read_runs(tmp_path)
    assert killed == replace(run, state=RunState.KILLED, left=None)
    assert killed.left_now(killed.updated) is None
    with recorder(tmp_path):
        pass
    assert read_runs(tmp_path)[0].state is RunState.ENDED


def test_it_ends_when_it_is_asked_to(child, tmp_path):
    (run,) = read_runs(tmp_path)
    ask_to_stop(tmp_path, replace(run, id="another"))
    assert read_runs(tmp_path)[0].state is RunState.RUNNING, "an older run was meant"
    ask_to_stop(tmp_path, run)
    assert read_runs(tmp_path)[0].state not in {RunState.RUNNING, RunState.KILLED}
    child.wait(60)
    (ended,) = read_runs(tmp_path)
    assert ended.state is RunState.STOPPED
    assert "--resume" in ended.words
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".lock"]


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (None, RunState.ENDED, ""),
        (Stopped(Path("x")), RunState.STOPPED, "--resume"),
        (KeyboardInterrupt(), RunState.STOPPED, ""),
        (MedQAError("No memory.", "8 GB.", "Close some."), RunState.FAILED, "No memory. 8 GB."),
        (ValueError("secret"), RunState.FAILED, "ValueError inside the program."),
    ],
)
def test_how_it_ended_is_kept(tmp_path, error, state, words):
    with suppress(BaseException), recorder(tmp_path) as record:
        record(step(20, 0.5))
        record(TrainEvent("saving"))
        if error is not None:
            raise error
    (run,) = read_runs(tmp_path)
    assert (run.state, run.step, run.total, run.phase) == (state, 20, 20, "saving")
    assert words in run.words
    assert "secret" not in run.words
    assert run.left_now(run.updated) is None


def test_what_was_typed_wrong_is_no_run(tmp_path):
    with pytest.raises(UsageError), recorder(tmp_path):
        raise UsageError("There is nothing to go on from.")
    assert read_runs(tmp_path) == ()
    with recorder(tmp_path) as record:
        record(step(20, 0.5))
    before = read_runs(tmp_path)
    with pytest.raises(UsageError), recorder(tmp_path, resume=True):
        raise UsageError("There is nothing to go on from.")
    assert read_runs(tmp_path) == before


def test_going_on_keeps_the_curve_up_to_there(tmp_path):
    with suppress(Stopped), recorder(tmp_path) as record:
        for at in (5, 10, 15):
            record(step(at, 20.0 - at))
            record(TrainEvent("training", at, 20, validation=at / 10))
        raise Stopped(tmp_path)
    with recorder(tmp_path, resume=True) as record:
        record(step(12, 3.0))
        record(step(17, 2.0))
    (run,) = read_runs(tmp_path)
    assert run.losses == ((5, 15.0), (10, 10.0), (12, 3.0), (17, 2.0))
    assert run.validation == ((5, 0.5), (10, 1.0))
    with recorder(tmp_path) as record:
        record(step(5, 1.0))
    assert read_runs(tmp_path)[0].losses == ((5, 1.0),), "begun again"


def test_a_long_run_stays_a_small_file(tmp_path):
    count = 10 * KEPT_POINTS
    with recorder(tmp_path) as record:
        for at in range(1, count + 1):
            record(step(at, float(count - at), count))
    (run,) = read_runs(tmp_path)
    assert KEPT_POINTS / 2 <= len(run.losses) <= KEPT_POINTS
    assert run.losses[-1] == (count, 0.0)
    losses = [loss for _, loss in run.losses]
    assert losses == sorted(losses, reverse=True)


def test_a_loss_that_is_no_number_is_told_and_drawn(tmp_path):
    with recorder(tmp_path) as record:
        record(step(1, 2.0))
        record(step(2, math.nan))
        record(step(3, math.inf))
    (run,) = read_runs(tmp_path)
    assert math.isnan(run.losses[1][1])
    assert len(curve.line(run.losses)) == 1


def test_damaged_and_foreign_files_are_passed_over(tmp_path):
    assert read_runs(tmp_path / "absent") == ()
    with recorder(tmp_path):
        pass
    whole = json.loads((tmp_path / "own.json").read_bytes())
    for name, text in {
        "half": "{",
        "list": "[]",
        "empty": "",
        "short": json.dumps({key: whole[key] for key in list(whole)[:5]}),
        "state": json.dumps({**whole, "state": "flying"}),
        "points": json.dumps({**whole, "losses": [1]}),
    }.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    assert [run.name for run in read_runs(tmp_path)] == ["own"]
    with recorder(tmp_path, "half"):
        pass
    assert {run.name for run in read_runs(tmp_path)} == {"own", "half"}


def test_a_disk_that_takes_nothing_ends_no_training(tmp_path, monkeypatch):
    from medqa_tui.models import files

    def full(*_):
        raise OSError(28, "No space left on device")

    with recorder(tmp_path) as record:
        monkeypatch.setattr(files, "write_atomic", full)
        record(step(1, 1.0))
        record(TrainEvent("saving"))


def test_only_the_newest_runs_are_remembered(tmp_path):
    for n in range(KEPT_RUNS + 3):
        with recorder(tmp_path, f"run{n}"):
            pass
    names = [run.name for run in read_runs(tmp_path)]
    assert len(names) == KEPT_RUNS + 1
    assert names[0] == f"run{KEPT_RUNS + 2}"
    assert "run0" not in names
    assert not list(tmp_path.glob("run0.*"))
