"""What counts as a hang, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from medqa_tui.engine import watchdog
from medqa_tui.engine.keepalive import Activity
from medqa_tui.engine.vitals import Silence, Vitals
from medqa_tui.engine.watchdog import HUNG, Watchdog


@pytest.fixture
def hung() -> list[str]:
    return []


@pytest.fixture
def dog(hung: list[str]) -> Watchdog:
    """A watchdog that is looked through by hand: 20 looks are its limit of 100 s."""
    return Watchdog(100.0, hung.append)


def look(dog: Watchdog, times: int) -> None:
    for _ in range(times):
        dog.look()


def test_work_in_which_nothing_moves_is_a_hang(dog: Watchdog, hung: list[str]) -> None:
    with dog.watch("writing an answer"):
        look(dog, 19)
        assert hung == []
        look(dog, 1)
    assert hung == ["nothing moved for 100 s while writing an answer"]


def test_a_step_now_and_then_is_enough(dog: Watchdog, hung: list[str]) -> None:
    with dog.watch("writing an answer"):
        for _ in range(5):
            look(dog, 19)
            dog.beat()
            look(dog, 1)
    assert hung == []


def test_without_work_there_is_no_hang(dog: Watchdog, hung: list[str]) -> None:
    look(dog, 100)
    with dog.watch("searching"):
        look(dog, 1)
    look(dog, 100)
    assert hung == []


def test_a_limit_of_zero_never_bites(hung: list[str]) -> None:
    off = Watchdog(0.0, hung.append)
    off.start()
    with off.watch("loading", loads=True):
        assert "watchdog" not in [thread.name for thread in threading.enumerate()]
    assert hung == []


def test_a_load_that_computes_is_no_hang_but_has_an_end(hung: list[str]) -> None:
    dog = Watchdog(100.0, hung.append)

    class Busy(Vitals):
        def moved(self, seconds: float) -> bool:
            return True

    with dog.watch("loading the language model", loads=True):
        (task,) = dog._tasks.values()
        task.vitals = Busy()
        look(dog, 239)
        assert hung == []
        look(dog, 1)
    assert hung == ["loading the language model had not ended after 1200 s"]


def test_a_load_that_waits_for_nothing_is_a_hang(dog: Watchdog, hung: list[str]) -> None:
    with dog.watch("loading", loads=True):
        look(dog, 20)
    assert hung == ["nothing moved for 100 s while loading"]


def test_every_module_that_torch_computes_is_a_step(dog: Watchdog, hung: list[str]) -> None:
    torch = pytest.importorskip("torch")
    dog.follow_torch()
    layer = torch.nn.Linear(2, 2)
    with dog.watch("writing an answer"):
        look(dog, 19)
        layer(torch.zeros(1, 2))
        look(dog, 19)
    assert hung == []


def test_a_hung_process_says_why_and_where(tmp_path) -> None:
    code = (
        "import threading\n"
        "from medqa_tui.engine.watchdog import Watchdog\n"
        "dog = Watchdog(0.2)\n"
        "dog.start()\n"
        "with dog.watch('waiting for what never comes'):\n"
        "    threading.Event().wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == HUNG
    assert "fatal: nothing moved for 0 s while waiting for what never comes" in done.stderr
    assert "most recent call first" in done.stderr


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = psutil.Process(child.pid)
    if os.name != "nt":
        process.suspend()
    yield process
    process.kill()
    child.wait()


def test_a_sleeping_process_is_given_up_sooner_than_a_busy_one(sleeper: psutil.Process) -> None:
    asleep = Silence(sleeper.pid, 120.0)
    assert [asleep.lasted(15.0) for _ in range(2)] == [False, True]

    awake = Silence(os.getpid(), 120.0)
    outcomes = []
    for _ in range(8):
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        outcomes.append(awake.lasted(15.0))
    assert outcomes == [False] * 7 + [True]


def test_saying_how_it_is_is_not_moving(hung: list[str]) -> None:
    dog = Watchdog(8.0, hung.append)

    class Asked(Vitals):
        work = 0.0

        def _work(self) -> float:
            # A tick of the clock that CPU time is counted by, at every other look.
            self.work += 0.005
            return self.work

    with dog.watch("loading", loads=True):
        (task,) = dog._tasks.values()
        task.vitals = Asked()
        look(dog, 20)
    assert hung == ["nothing moved for 8 s while loading"]


def test_without_a_limit_nobody_is_given_up(sleeper: psutil.Process) -> None:
    silence = Silence(sleeper.pid, 0.0)
    assert not any(silence.lasted(1000.0) for _ in range(5))
    assert silence.seconds == 5000.0


def test_a_process_that_is_gone_does_not_move() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not Vitals(child.pid).moved(1.0)


async def test_the_wall_clock_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    activity = Activity(3600.0)
    activity.loaded()
    with activity.work():
        pass
    for day in (86400.0, -86400.0):
        monkeypatch.setattr(time, "time", lambda day=day: 1e9 + day)
        assert activity.idle_seconds < 1800
        assert (activity._seconds_left() or 0.0) > 1800
    assert watchdog.time is time
