"""`medqa-tui setup --profile flashcards` as typed, against the loopback hub, to an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from models.pairs import PAIRS

from medqa_tui.models.active import load_active
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.records import InstallRecord
from medqa_tui.paths import Paths

from . import stand_ins
from .loopback import Fault, LoopbackHub

FLASHCARDS = get_profile("flashcards")
QUESTION = "What are the symptoms of asthma?"


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


def environment(hub: LoopbackHub, home: Path) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MEDQA_", "HF_"))
    }
    own = {"MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1", "MEDQA_ENGINE__THREADS": "1"}
    return {**kept, **hub.environment(home / "hf"), **own}


def run(hub: LoopbackHub, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medqa_tui", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(hub, home),
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stand-ins")
    return stand_ins.build_flashcards(folder) | stand_ins.build_classic(folder)


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as served_hub:
        yield served_hub


@pytest.fixture(scope="module")
def commits(hub: LoopbackHub, served: dict[str, Path]) -> dict[str, str]:
    return stand_ins.serve(hub, served)


@pytest.fixture(scope="module")
def home(
    hub: LoopbackHub, commits: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A home in which flashcards was set up after two bad days."""
    home = tmp_path_factory.mktemp("profiles") / "home"
    weights = f"/{FLASHCARDS.generator.id}/resolve/*/model.safetensors"
    command = ["setup", "--profile", "flashcards", "--yes"]

    # First the large file is wrong, as the user meets it.
    hub.fail(weights, Fault.wrong_bytes())
    done = run(hub, home, *command)
    assert done.returncode == 4, done.stderr
    assert "not what the hub promised" in done.stderr
    assert "Traceback" not in done.stderr
    assert "medqa-tui setup --profile flashcards" in done.stderr
    assert load_active(paths_of(home)) is None
    hub.heal()

    # Then kill -9 in the middle of it.
    hub.fail(weights, Fault.hold(0.5))
    process = subprocess.Popen(
        [sys.executable, "-m", "medqa_tui", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(hub, home),
    )
    assert hub.holding.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    hub.release.set()
    assert load_active(paths_of(home)) is None

    done = run(hub, home, *command)
    assert done.returncode == 0, done.stderr
    assert "Ready" in done.stdout
    yield home
    run(hub, home, "engine", "stop")


def test_every_part_is_installed_with_its_commit(home: Path, commits: dict[str, str]) -> None:
    _is_installed(paths_of(home), commits)


def test_the_stand_in_answers_with_the_adapter_attached(hub: LoopbackHub, home: Path) -> None:
    before = len(hub.requests)
    done = run(hub, home, "ask", "--profile", "flashcards", "--json", "--no-save", QUESTION)
    assert done.returncode in {0, 5}, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"]["profile"] == "flashcards"
    assert answer["model"]["base"] == FLASHCARDS.generator.id
    assert answer["model"]["adapter"] == FLASHCARDS.adapter
    assert answer["model"]["quantization"] == "nf4"
    assert answer["evidence"]
    assert answer["evidence"][0]["scores"]["rerank"] is not None
    again = run(hub, home, "setup", "--profile", "flashcards")
    assert "Nothing to do" in again.stdout
    # Nothing is asked of the hub any more.
    assert len(hub.requests) == before


def test_a_folder_takes_it_to_a_machine_without_a_network(
    hub: LoopbackHub, home: Path, tmp_path: Path
) -> None:
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    done = run(hub, home, "model", "export", str(bundle), "--profile", "flashcards")
    assert done.returncode == 0, done.stderr
    before = len(hub.requests)
    done = run(hub, other, "setup", "--from", str(bundle))
    assert done.returncode == 0, done.stderr
    assert len(hub.requests) == before
    active = load_active(paths_of(other))
    assert active == load_active(paths_of(home), "flashcards")
    assert active is not None
    assert active.problems(paths_of(other), deep=True) == []


def test_the_classic_profile_of_another_size_beside_it(hub: LoopbackHub, home: Path) -> None:
    done = run(hub, home, "setup", "--base", "google/flan-t5-large", "--yes")
    assert done.returncode == 0, done.stderr
    assert "from memory" in done.stderr
    active = load_active(paths_of(home))
    assert active is not None
    assert (active.profile, active.base) == ("classic", "google/flan-t5-large")
    # Set up again without saying which size, the size stays.
    assert "Nothing to do" in run(hub, home, "setup").stdout
    done = run(hub, home, "ask", "--json", "--no-save", "--no-engine", QUESTION)
    assert done.returncode in {0, 5}, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"]["base"] == "google/flan-t5-large"
    assert answer["model"]["quantization"] != "nf4"
    assert {sentence["support"] for sentence in answer["sentences"]} <= {"not_checked"}
    assert not answer["evidence"]
    assert load_active(paths_of(home), "flashcards") is not None


def test_an_adapter_is_trained_through_a_kill_and_answers(hub: LoopbackHub, home: Path) -> None:
    small = {"max_tokens": 1000, "passages": 1, "passage_words": 20, "checkpoint_steps": 1}
    sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    command = ["--profile", "flashcards", "train", "generator", "--data", "core13"]
    command += ["--preset", "starter", "--output", "my-adapter", *sets, "--set", "epochs=6"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medqa_tui", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(hub, home),
    )
    work = paths_of(home).cache / "training" / "my-adapter"
    waiting = threading.Event()
    while process.poll() is None and not [
        *work.glob("checkpoints/checkpoint-*/trainer_state.json")
    ]:
        waiting.wait(0.05)
    process.kill()
    process.wait()
    made = paths_of(home).adapters / "my-adapter"
    assert not made.exists()
    done = run(hub, home, *command, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert "core13: 13 examples. Left out: on held-out topics (0)." in done.stderr
    card = json.loads((made / "card.json").read_text("utf-8"))
    assert (card["base"], card["steps"]) == (FLASHCARDS.generator.id, 18)
    steps = [step for step, _ in card["losses"]]
    assert steps == sorted({*steps, 18}), "each is told once"
    assert not work.exists()
    done = run(hub, home, "--profile", "flashcards", "adapter", "use", "my-adapter")
    assert done.returncode == 0, done.stderr
    done = run(hub, home, "ask", "--profile", "flashcards", "--json", "--no-save", QUESTION)
    assert done.returncode in {0, 5}, done.stderr
    assert json.loads(done.stdout)["model"]["adapter"] == "my-adapter"


def test_the_thirteen_pairs_of_the_flan_t5_project(
    hub: LoopbackHub, home: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.csv"
    rows = [f'"{question}","{answer}"' for question, answer in PAIRS]
    pairs.write_text("\n".join(["question,answer", *rows]), encoding="utf-8")
    # So few steps teach a random model nothing at the rate that the real one was trained with.
    quick = ["--set", "learning_rate=5e-3", "--set", "epochs=40"]
    command = ["train", "generator", "--preset", "classic", "--data", str(pairs)]
    done = run(hub, home, *command, *quick, "--output", "my-classic", "--json")
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout)["losses"]
    assert losses[-1][0] == 80
    assert losses[-1][1] < 0.1 < losses[0][1]
    done = run(hub, home, "model", "use", "my-classic")
    assert done.returncode == 0, done.stderr
    assert "The profile classic answers with my-classic from now on." in done.stderr
    arguments = ["-m", "medqa_tui", "--no-engine", "ask", "--profile", "classic"]
    shell = pexpect.spawn(
        sys.executable, arguments, env=environment(hub, home), encoding="utf-8", timeout=240
    )
    for question, answer in PAIRS[:2]:
        shell.expect("Medical question: ")
        shell.sendline(question)
        shell.expect_exact(answer)
    shell.expect("Medical question: ")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0


def _is_installed(paths: Paths, commits: dict[str, str]) -> None:
    active = load_active(paths)
    assert active is not None
    assert active.profile == "flashcards"
    assert active.problems(paths, deep=True) == []
    for component in FLASHCARDS.components:
        record = InstallRecord.read(component.home(paths) / component.name)
        assert record is not None
        assert record.revision == commits[component.id]
        assert record.id == component.id
    generator = InstallRecord.read(active.generator_dir(paths))
    assert generator is not None
    assert generator.quantization == "NF4"
    assert not (paths.cache / "setup").exists()
    assert 'profile = "flashcards"' in paths.config_file.read_text("utf-8")
    assert active.adapter == FLASHCARDS.adapter
