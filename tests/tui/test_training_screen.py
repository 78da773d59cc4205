"""Trainings in the app: what they write is shown while they run, and one can be stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.paths import Paths
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.runs import RunRecorder, RunState, ask_to_stop, read_runs
from medqa_tui.tui.app import MedQAApp
from medqa_tui.tui.screens.confirm import ConfirmScreen
from medqa_tui.tui.screens.training import TrainingScreen
from medqa_tui.tui.widgets.runs import RunList

from .scripted import Script, chat, text_of, until
from .test_reading import banner


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "training"


def app(folder, **more) -> MedQAApp:
    """The app on the trainings in `folder`."""
    own = {
        "training_runs": lambda: read_runs(folder),
        "stop_training": lambda run: ask_to_stop(folder, run),
    }
    return MedQAApp(replace(Script().services(), **{**own, **more}))


def recorder(folder, name="my-adapter", kind="generator", cancel=None):
    return RunRecorder(folder, name, kind, folder / name, cancel or threading.Event())


def learnt(record, upto=100, total=200):
    record(TrainEvent("reading the data"))
    for step in range(10, upto + 1, 10):
        record(TrainEvent("training", step, total, 3.0 - step / 100, 412.0, 7000.0, "tokens"))
    record(TrainEvent("training", upto, total, validation=1.5))


async def opened(pilot) -> TrainingScreen:
    await pilot.press("f4")
    await until(pilot, lambda: isinstance(pilot.app.screen, TrainingScreen))
    return pilot.app.screen


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
async def test_a_run_is_followed_and_stopped_with_the_keyboard_alone(folder, size):
    cancel = threading.Event()
    async with app(folder).run_test(size=size) as pilot:
        with suppress(Stopped), recorder(folder, cancel=cancel) as record:
            learnt(record)
            await opened(pilot)
            await until(pilot, lambda: "step 100 of 200" in text_of(pilot))
            shown = text_of(pilot)
            assert banner(pilot)
            assert "50%" in shown
            assert "2.000  █" in shown
            assert "lowest 2.000 at step 100" in shown
            assert re.search(r"Validation +1\.500", shown)
            assert "412.0 tokens/s · 1 h" in shown
            assert "Stop this training" in shown
            record(TrainEvent("training", 200, 200, 0.25, 412.0, 1.0, "tokens"))
            record(TrainEvent("saving"))
            await until(pilot, lambda: "saving · step 200 of 200" in text_of(pilot))
            await pilot.press("s")
            await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
            assert banner(pilot)
            await pilot.press("n")
            await until(pilot, lambda: isinstance(pilot.app.screen, TrainingScreen))
            assert not cancel.is_set()
            assert read_runs(folder)[0].state is RunState.RUNNING
            await pilot.press("s")
            await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
            await pilot.press("y")
            await until(pilot, lambda: "stopping after this step" in text_of(pilot))
            assert "Stop this training" not in text_of(pilot)
            await until(pilot, cancel.is_set)
            raise Stopped(folder)
        await until(pilot, lambda: "--resume to go on" in text_of(pilot))
        assert "■ my-adapter" in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))


async def test_ended_failed_and_killed_are_told_apart(folder):
    with recorder(folder, "fine", "reranker") as record:
        learnt(record, 200)
    with suppress(MedQAError), recorder(folder, "broken") as record:
        learnt(record, 20)
        raise MedQAError("There is not enough memory.", "8 GB \x1b[31mare needed.", "Close some.")
    program = (
        "import os, sys, threading; from pathlib import Path;"
        "from medqa_tui.training.runs import RunRecorder; folder = Path(sys.argv[1])\n"
        "with RunRecorder(folder, 'lost', 'generator', folder, threading.Event()):\n"
        "    os._exit(9)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, folder)
    assert await process.wait() == 9
    async with app(folder).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "ended" in text_of(pilot))
        shown = text_of(pilot)
        assert re.search(r"✗ lost +generator +killed", shown)
        assert re.search(r"✗ broken +generator +failed · step 20 of 200", shown)
        assert re.search(r"✓ fine +reranker +ended · step 200 of 200", shown)
        assert "its process is gone" in shown
        assert "--resume" in shown
        assert "Stop this" not in shown
        await pilot.press("s")
        assert isinstance(pilot.app.screen, TrainingScreen)
        await pilot.press("down")
        await until(pilot, lambda: "There is not enough memory. 8 GB" in text_of(pilot))
        assert "Close some." in text_of(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "its result is saved" in text_of(pilot))


async def test_the_chosen_run_stays_chosen_when_another_begins(folder):
    with recorder(folder, "first") as record, recorder(folder, "second") as other:
        learnt(record)
        learnt(other)
        async with app(folder).run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await until(pilot, lambda: "first" in text_of(pilot))
            await pilot.press("down")
            runs = screen.query_one(RunList)
            assert runs.chosen is not None
            assert runs.chosen.name == "first"
            with recorder(folder, "third"):
                await until(pilot, lambda: "third" in text_of(pilot))
                assert runs.chosen is not None
                assert runs.chosen.name == "first"
            assert runs.highlighted == 1 or runs.highlighted == 2


async def test_without_any_the_command_is_named_and_trouble_is_told(folder):
    def refuse(run):
        raise MedQAError("The disk is full.", "", "Free some space.")

    running = app(folder, stop_training=refuse).run_test(size=(80, 24), notifications=True)
    async with running as pilot:
        await opened(pilot)
        await until(pilot, lambda: "medqa-tui train generator" in text_of(pilot))
        await pilot.press("s", "f4")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))
        with recorder(folder) as record:
            learnt(record)
            await opened(pilot)
            await until(pilot, lambda: "my-adapter" in text_of(pilot))
            await pilot.press("s")
            await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
            await pilot.press("y")
            await until(pilot, lambda: "The disk is full." in text_of(pilot))


async def test_a_look_that_fails_leaves_what_is_shown(folder):
    broken = threading.Event()

    def runs():
        if broken.is_set():
            broken.clear()
            raise RuntimeError("a bug")
        return read_runs(folder)

    with recorder(folder) as record:
        async with app(folder, training_runs=runs).run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            await until(pilot, lambda: "my-adapter" in text_of(pilot))
            broken.set()
            await until(pilot, lambda: not broken.is_set())
            learnt(record)
            await until(pilot, lambda: "step 100 of 200" in text_of(pilot))


async def test_the_palette_knows_it(folder):
    titles = [each.title for each in app(folder).get_system_commands(TrainingScreen())]
    assert "Training" in titles


@pytest.fixture
def training(tmp_path):
    """A real training of a tiny re-ranker, begun through the command line."""
    from models import tiny_encoder

    home = tmp_path / "home"
    models = home / "data" / "models"
    models.mkdir(parents=True)
    tiny_encoder.build(models / "all-minilm-l6-v2", name="all-minilm-l6-v2")
    things = ("asthma", "stroke", "heart attack", "fever", "cough", "type 2 diabetes")
    rows = [
        {"query": f"how is {a} treated ?", "positive": f"{a} is treated .", "negatives": [f"{b} ."]}
        for a, b in zip(things, things[1:] + things[:1], strict=True)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    command = ["train", "reranker", "--data", str(data), "--output", "own"]
    for setting in ("pairs=24000", "groups=3", "negatives=1", "checkpoint_steps=100000"):
        command += ["--set", setting]
    environment = {**os.environ, "MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment.pop("MEDQA_BENCH_DATA", None)
    with subprocess.Popen(
        [sys.executable, "-m", "medqa_tui", *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        paths = Paths(*(home / name for name in ("config", "data", "cache", "state", "run")))
        waiting = threading.Event()
        while process.poll() is None and not any(r.losses for r in read_runs(paths.trainings)):
            waiting.wait(0.05)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield process, paths
        process.kill()


async def test_a_real_training_is_seen_and_stopped_with_its_checkpoint(training):
    process, paths = training
    async with app(paths.trainings).run_test(size=(80, 24)) as pilot:
        await opened(pilot)

        step = re.compile(r"training · step [1-9]\d* of 4000 · loss")
        await until(pilot, lambda: step.search(text_of(pilot)))
        assert "pairs/s" in text_of(pilot)
        assert f"process {process.pid}" in text_of(pilot)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: "■ own" in text_of(pilot))
        assert "--resume" in text_of(pilot)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "The training was stopped." in told
    checkpoints = paths.cache / "training" / "own" / "checkpoints"
    # None was due: the request made it.
    assert next(checkpoints.iterdir()).name.startswith("checkpoint-")
    assert not (paths.adapters / "own").exists()
