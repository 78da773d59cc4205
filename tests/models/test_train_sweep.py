"""Sweeps over tiny random models: shared, ended early, killed, gone on with, shown."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.generation.quantize import quantize_folder
from medqa_tui.models.active import Active
from medqa_tui.models.adapter_check import check
from medqa_tui.models.records import InstallRecord
from medqa_tui.training import generator_job, rerank_job, sweep, trials
from medqa_tui.training import study as studies
from medqa_tui.training.dealing import LOOKS, Pruner, Sampler
from medqa_tui.training.generator_presets import read_generator_preset
from medqa_tui.training.presets import RerankPreset, read_preset
from medqa_tui.training.search_space import read_space
from medqa_tui.training.study import Storage

from . import tiny_encoder, tiny_llama, tiny_t5
from .engine_home import home_paths
from .pairs import PAIRS
from .tiny_bert import WORDS

BASE = "tests/tiny-llama"
CHANGES = {"evidence": "false", "epochs": "2", "batch": "4", "max_tokens": "96"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random Llama in NF4 with its install record."""
    folder = tmp_path_factory.mktemp("base")
    quantize_folder(tiny_llama.build(folder / "dense"), folder / "nf4")
    made = folder / "nf4"
    record = InstallRecord(
        "tiny-llama", "generator", BASE, "1", "none", "nf4", "made by a test", (), "2026-01-01"
    )
    record.write(made)
    return made


@pytest.fixture
def home(base, tmp_path):
    """A home in which the profile starter answers with that Llama."""
    paths = home_paths(tmp_path / "home")
    paths.models.mkdir(parents=True)
    (paths.models / "tiny-llama").symlink_to(base)
    Active("starter", BASE, "tiny-llama", "tiny-bert", "tiny").write(paths)
    return paths


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS]
    file.write_text("\n".join(rows))
    return file


def planned(home, data, *searched, sampler=Sampler.GRID, **more):
    preset = read_generator_preset("starter", CHANGES)
    wanted = generator_job.Wanted(
        name="best",
        base=home.models / "tiny-llama",
        base_id=BASE,
        base_revision="1",
        base_licence="none",
        data=(str(data),),
        data_folder=None,
        store=home.corpora / "corpora.db",
        output=home.adapters / "best",
        work=home.cache / "training" / "best",
        preset=preset,
        preset_name="starter",
        device="cpu",
    )
    space = read_space("generator", preset, searched, list(CHANGES), grid=sampler is Sampler.GRID)
    plan = sweep.Sweep(
        kind="generator",
        wanted=wanted,
        prepared=generator_job.prepare(wanted, lambda event: None),
        space=space,
        storage=Storage.of(home, "tiny", None),
        sampler=sampler,
        pruner=Pruner.NONE,
        limit=None,
        seed=0,
        watched=home.trainings,
    )
    return replace(plan, **more)


def went(plan, on_event=lambda *_: None, cancel=None):
    ended = []
    study = sweep.run(plan, on_event, ended.append, cancel or threading.Event())
    return study, ended


def command(home, *words):
    environment = {**os.environ, "MEDQA_HOME": str(home.data.parent), "OMP_NUM_THREADS": "1"}
    environment.pop("MEDQA_BENCH_DATA", None)
    return [sys.executable, "-m", "medqa_tui", "train", "sweep", *words], environment


def started(home, data, *searched):
    """Start the same sweep in a process of its own."""
    sets = [f"--set={key}={value}" for key, value in CHANGES.items()]
    words = ["generator", "--study=tiny", "--output=best", f"--data={data}", "--pruner=none"]
    words += ["--sampler=grid", *sets, *(f"--search={each}" for each in searched)]
    arguments, environment = command(home, *words)
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def signed_by(plan, pid):
    """Return the running trials of a process, none if the study is not there yet."""
    try:
        study = studies.read_study(plan.storage)
    except MedQAError:
        return []
    return [t for t in studies.running(study) if t.user_attrs.get("pid") == pid]


def until(condition, process):
    waiting = threading.Event()
    while not condition():
        assert process.poll() is None, process.communicate()
        waiting.wait(0.05)


def settings_of(found):
    return [tuple(sorted(trial.params.items())) for trial in found]


def test_the_best_of_a_grid_becomes_an_adapter(home, data):
    plan = planned(home, data, "learning_rate=1e-4,1e-2", "rank=2,4")
    study, ended = went(plan)
    whole = studies.whole(study)
    assert len(ended) == len(whole) == 4
    assert len(set(settings_of(whole))) == 4
    assert whole[0].params["learning_rate"] == 1e-2
    kept = [path.name for path in plan.storage.folder.glob("*-*")]
    assert kept == [f"trial-{whole[0].number}"], "the others' are deleted"
    best = sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    assert best.number == whole[0].number
    output = plan.wanted.output
    assert check(output, BASE, base_folder=plan.wanted.base, revision="1") == []
    card = json.loads((output / "card.json").read_text())
    assert card["study"]["name"] == "tiny"
    assert card["study"]["trial"] == best.number
    assert card["study"]["space"] == {"learning_rate": [1e-4, 1e-2], "rank": [2, 4]}
    assert card["study"]["trials"] == {"finished": 4}
    assert card["settings"]["alpha"] == 2 * best.params["rank"]
    assert min(loss for _, loss in card["validation_losses"]) == best.value
    assert len(card["validation_losses"]) > 4, "measured on the way, not after each epoch alone"
    shares = trials.importances(study)
    assert set(shares) == {"learning_rate", "rank"}
    assert sum(shares.values()) == pytest.approx(1)
    assert (output / trials.PNG).read_bytes().startswith(b"\x89PNG")

    # Where another machine trained it, its settings are trained once more.
    import shutil

    shutil.rmtree(plan.storage.folder)
    shutil.rmtree(output)
    sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    again = json.loads((output / "card.json").read_text())
    assert again["study"]["trial"] == best.number
    assert again["settings"] == card["settings"]

    # With nothing left to try, the same command only looks.
    assert went(plan)[1] == []
    with pytest.raises(UsageError, match="something else") as caught:
        went(replace(plan, seed=9, space=dict(list(plan.space.items())[:1])))
    assert "other settings (rank) and space (rank) and seed." in caught.value.detail
    _shown(home, best.number)


def _shown(home, best):
    arguments, environment = command(home, "show", "tiny", "--plot", str(home.data / "out.png"))
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["trial", "state", "loss", "learning_rate", "rank", "took"]
    assert [line.split()[1] for line in lines[1:5]].count("best") == 1
    assert lines[6].split() == ["setting", "importance"]
    assert (home.data / "out.png").read_bytes().startswith(b"\x89PNG")
    arguments, environment = command(home, "show", "tiny", "--plot", str(home.data / "out.txt"))
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == lines, "the table is there all the same"
    assert "The picture cannot be written." in done.stderr
    arguments, environment = command(home, "show", "tiny", "--json")
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["schema_version"] == 1
    assert record["best"] == best
    assert len(record["trials"]) == 4
    assert record["space"]["rank"] == [2, 4]
    with pytest.raises(UsageError, match="no such study") as caught:
        studies.read_study(Storage.of(home, "tyni", None))
    assert caught.value.hint == "Known: tiny."


def test_a_dry_run_says_what_it_takes_and_trains_nothing(home, data):
    sets = [f"--set={key}={value}" for key, value in CHANGES.items()]
    words = ["generator", "--output=best", f"--data={data}", "--dry-run", *sets]
    arguments, environment = command(home)
    done = subprocess.run(
        [*arguments[:-1], *words, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    # Thirteen less the one that is kept out, in fours, twice.
    assert (record["examples"], record["steps"]) == (12, 6)
    assert record["settings"]["batch"] == 4
    assert min(record[key] for key in ("tokens", "tokens_per_second", "memory_mb")) > 0
    assert "Kept out, to measure the run: 1 example on 1 other topic." in done.stderr
    assert not home.adapters.exists()
    assert not home.trainings.exists()


def test_two_processes_share_a_study_and_a_killed_trial_is_tried_again(home, data):
    searched = ("learning_rate=1e-3,2e-3,3e-3,4e-3",)
    plan = planned(home, data, *searched)
    killed = started(home, data, *searched)
    until(lambda: signed_by(plan, killed.pid), killed)
    (lost,) = signed_by(plan, killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not plan.wanted.output.exists()

    other = started(home, data, *searched)
    waited = []

    def wait_for_the_other(number, limit, event):
        # A trial here stands still until one is under way over there.
        if not waited:
            until(lambda: signed_by(plan, other.pid), other)
            waited.append(number)

    study, ended = went(plan, wait_for_the_other)
    _, said = other.communicate()
    assert other.returncode == 0, said
    study = studies.read_study(plan.storage)
    whole = studies.whole(study)
    assert len(whole) == len(set(settings_of(whole))) == 4
    assert {t.user_attrs["pid"] for t in whole} == {os.getpid(), other.pid}
    assert ended
    again = [t for t in whole if studies.origin(t) == lost.number]
    assert settings_of(again) == settings_of([lost])
    assert study.get_trials()[lost.number].state is TrialState.FAIL
    assert len(trials.shown(study)) == 4, "the killed one is shown as what took its place"
    sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    assert (plan.wanted.output / "card.json").is_file()


def test_a_bad_trial_is_ended_early(home, data):
    plan = planned(home, data, "learning_rate=1e-3,2e-3,9.0", pruner=Pruner.MEDIAN)
    # An order in which the bad one comes after two that it can be compared with.
    from medqa_tui.training.search_space import cells

    seed = next(n for n in range(50) if cells(plan.space, n)[2]["learning_rate"] == 9.0)
    study, ended = went(replace(plan, seed=seed))
    assert [trial.state for trial in ended] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,
    ]
    assert ended[2].last_step < LOOKS - 1
    assert not list(plan.storage.folder.glob("work-*"))
    assert trials.counts(study) == {"finished": 2, "ended early": 1}


def test_a_stopped_sweep_is_gone_on_with(home, data):
    plan = planned(home, data, "learning_rate=1e-4:1e-2:log", sampler=Sampler.RANDOM, limit=2)
    cancel = threading.Event()

    def stop(number, limit, event):
        if event.loss is not None:
            cancel.set()

    with pytest.raises(sweep.SweepStopped) as caught:
        went(plan, stop, cancel)
    assert "same command" in caught.value.hint
    (waiting,) = studies.read_study(plan.storage).get_trials(states=(TrialState.WAITING,))
    events = []
    study, ended = went(plan, lambda number, limit, event: events.append(event))
    assert settings_of(ended[:1]) == settings_of([waiting])
    assert len(studies.whole(study)) == 2
    drawn = settings_of(ended)
    assert drawn[0] != drawn[1]
    # What another process would draw with the same seed.
    elsewhere = replace(plan, storage=Storage.of(home, "tiny", str(home.data / "other.journal")))
    assert settings_of(went(replace(elsewhere, limit=1))[1]) == drawn[:1]


def test_a_trial_that_was_taken_for_dead_is_left_to_who_took_it(home, data):
    plan = planned(home, data, "learning_rate=1e-3")
    seen = []

    def take_over(number, limit, event):
        if event.loss is not None and not seen:
            seen.append(number)
            study = studies.read_study(plan.storage)
            studies.retry(study, study.get_trials()[number])
            study.tell(number, state=TrialState.FAIL)

    study, ended = went(plan, take_over)
    assert [trial.number for trial in ended] == [1]
    assert studies.origin(ended[0]) == 0
    assert trials.counts(study) == {"finished": 1}


def test_a_whole_model_is_swept(home, data, tmp_path):
    base = tiny_t5.build(home.models / "t5", texts=[text for pair in PAIRS for text in pair])
    preset = read_generator_preset("classic", {"epochs": "1", "validation": "2"})
    plan = planned(home, data, "learning_rate=1e-3")
    wanted = replace(plan.wanted, base=base, output=home.models / "best", preset=preset)
    prepared = generator_job.prepare(wanted, lambda event: None)
    plan = replace(plan, wanted=wanted, prepared=prepared)
    study, _ = went(plan)
    sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    record = InstallRecord.read(wanted.output)
    assert record is not None
    assert record.problems(wanted.output) == []
    assert "card.json" in {file.path for file in record.files}
    assert json.loads((wanted.output / "card.json").read_text())["study"]["trial"] == 0


def test_what_cannot_be_swept_is_refused_in_words(home, data, tmp_path):
    plan = planned(home, data, "learning_rate=1e-3,2e-3")
    with pytest.raises(UsageError, match="measure its trials"):
        went(replace(plan, prepared=replace(plan.prepared, held=())))
    study = studies.open_study(plan.storage, plan.identity(), None, None)
    with pytest.raises(MedQAError, match="No trial came to its end"):
        sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 200)
    with pytest.raises(MedQAError, match="cannot be opened") as caught:
        studies.read_study(Storage.of(home, "tiny", str(broken)))
    assert "broken.db" in caught.value.detail
    with pytest.raises(MedQAError, match="cannot be opened") as caught:
        studies.read_study(Storage.of(home, "tiny", "nosql://me:secret@there/x"))
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="called so"):
        Storage.of(home, "../up", None)


def test_a_trial_that_cannot_be_trained_leaves_the_others_be(home, data, monkeypatch):
    from medqa_tui.training import job

    whole = generator_job.run

    def run(wanted, prepared, **more):
        if wanted.preset.batch == 8:
            raise job.no_memory("8 rows.")
        return whole(wanted, prepared, **more)

    monkeypatch.setattr(generator_job, "run", run)
    plan = planned(home, data)
    preset = plan.wanted.preset
    space = read_space("generator", preset, ["batch=4,8"], [], grid=True)
    study, ended = went(replace(plan, space=space))
    assert trials.counts(study) == {"finished": 1, "failed": 1}
    (failed,) = [t for t in ended if t.state is TrialState.FAIL]
    assert "not enough memory" in failed.user_attrs[studies.REASON]


def test_a_reranker_is_swept(tmp_path):
    paths = home_paths(tmp_path / "home")
    base = paths.models / "all-minilm-l6-v2"
    base.parent.mkdir(parents=True)
    tiny_encoder.build(base, name="all-minilm-l6-v2")
    file = tmp_path / "pairs.jsonl"
    draw = random.Random(0)
    # Of few and of many words, so that a random encoder tells them apart.
    rows = [
        {"query": " ".join(draw.sample(WORDS, 3)), "positive": " ".join(draw.sample(WORDS, count))}
        for count in range(2, 22)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    changes = {"groups": "3", "negatives": "2", "near": "3", "pairs": "90", "max_tokens": "32"}
    preset = read_preset("reranker", RerankPreset, "starter-rerank", changes)
    wanted = rerank_job.Wanted(
        name="best",
        base=base,
        base_id=tiny_encoder.BASE_ID,
        base_revision=tiny_encoder.REVISION,
        data=(str(file),),
        data_folder=None,
        store=paths.corpora / "corpora.db",
        output=paths.adapters / "best",
        work=paths.cache / "training" / "best",
        cache=paths.cache / "training" / "vectors",
        preset=preset,
        preset_name="starter-rerank",
        device="cpu",
    )
    plan = sweep.Sweep(
        kind="reranker",
        wanted=wanted,
        prepared=rerank_job.prepare(wanted, lambda event: None),
        space=read_space("reranker", preset, ["rank=2,4", "schedule=linear"], [], grid=False),
        storage=Storage.of(paths, "order", None),
        sampler=Sampler.TPE,
        pruner=Pruner.HYPERBAND,
        limit=2,
        seed=0,
        watched=paths.trainings,
    )
    study, ended = went(plan)
    assert len(ended) == 2
    best = sweep.make_adapter(plan, study, lambda event: None, threading.Event())
    card = json.loads((wanted.output / "card.json").read_text())
    assert card["kind"] == "reranker"
    assert card["study"]["trial"] == best.number
    assert card["validation_losses"][-1][1] == best.value
    assert card["settings"]["schedule"] == "linear"
