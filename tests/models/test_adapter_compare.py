"""`adapter compare` as a shell sees it, on tiny random models: figures, resuming, the gate."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.models.active import Active, load_active
from medqa_tui.retrieval.index import build_index

from .engine_home import home_paths, save_embedder, save_generator
from .tiny_parts import save_lora

TEXT = "The flu causes fever and cough in most people. Rest and fluids help with the flu."
OTHER = "A cold is mild and goes away by itself within a week or so."
EVIDENCE = [{"title": "Flu", "text": TEXT}, {"title": "Cold", "text": OTHER}]
ROWS = [
    {"id": 1, "question": "What causes a fever?", "reference": TEXT, "evidence": EVIDENCE},
    {"id": 2, "question": "What helps with the flu?", "reference": TEXT, "evidence": EVIDENCE},
    {"id": 3, "question": "What causes gout?", "evidence": EVIDENCE, "answerable": False},
]
FAST = ("--words", "5", "--count", "2")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A home with two adapters for its tiny model, a few passages, and a held-out set."""
    from medqa_tui.retrieval.embedder import Embedder

    home = tmp_path_factory.mktemp("compare") / "home"
    paths = home_paths(home)
    active = Active("starter", "tests/tiny-llama", "tiny-llama", "tiny-bert", "tiny")
    texts = [TEXT, OTHER, *(row["question"] for row in ROWS)]
    records = [
        PassageRecord(Passage(f"notes:{n}#0", "notes", str(n), "Flu", text))
        for n, text in enumerate((TEXT, OTHER))
    ]
    with CorpusStore(paths.corpora / "corpora.db") as store:
        store.replace(CorpusInfo("notes"), records)
        save_embedder(active.embedder_dir(paths), texts)
        save_generator(active.generator_dir(paths), texts, layers=2)
        build_index(store, Embedder.load(active.embedder_dir(paths)), active.index_dir(paths))
    active.write(paths)
    for seed, name in enumerate(("one", "two")):
        folder = paths.adapters / name
        save_lora(active.generator_dir(paths), folder, seed=seed, std=0.1, base_id=active.base)
    (home / "heldout.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return home


@pytest.fixture
def home(source, tmp_path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "home"))


def command(home: Path, *args: str) -> tuple[list[str], dict[str, str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MEDQA_")}
    env |= {"MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    return [sys.executable, "-m", "medqa_tui", *args], env


def medqa(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    line, env = command(home, *args)
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=300, check=False)


def compare(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return medqa(home, "adapter", "compare", *args, "--data", str(home / "heldout.jsonl"), *FAST)


def chosen(home: Path) -> str | None:
    active = load_active(home_paths(home))
    assert active is not None
    return active.adapter


def kept(home: Path) -> list[str]:
    folder = home / "data" / "comparisons"
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [line for line in lines if line.strip()]


def worsened(home: Path, name: str) -> None:
    """Let the record of an adapter say that it is worse; a random one is by chance only."""
    file = home / "data" / "adapters" / name / "comparison.json"
    record = json.loads(file.read_text())
    for row in record["compared"]:
        row["regressions"] = [f"{name} passes 1 of 19 safety cases and {row['against']} 2."]
    file.write_text(json.dumps(record))


def killed_in_the_middle(home: Path) -> list[str]:
    """Kill a comparison once it has kept a few answers, tear its last line, and return them."""
    line, env = command(
        home, "adapter", "compare", "one", "base", "--data", str(home / "heldout.jsonl"), *FAST
    )
    with subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        while run.poll() is None and len(kept(home)) < 4:
            os.sched_yield()
        run.kill()
        _, told = run.communicate()
    assert run.returncode == -signal.SIGKILL, told
    before = kept(home)
    file = next((home / "data" / "comparisons").glob("*.jsonl"))
    file.write_text(file.read_text() + '{"case": "torn', encoding="utf-8")
    return before


def test_two_adapters_from_a_kill_over_figures_to_the_gate(home):
    before = killed_in_the_middle(home)
    told = home / "figures.json"
    done = compare(home, "one", "base", "two", "lead", "extractive", "--output", str(told))
    assert done.returncode == 0, done.stderr
    for label in ("token F1", "ROUGE-L", "BLEU", "perplexity", "copied 8-grams", "safety cases"):
        assert label in done.stdout
    record = json.loads(told.read_text())

    # The killed one went on: what was kept is not asked again.
    whole = [line for line in kept(home) if "torn" not in line]
    assert set(before) <= set(whole)
    safety = len(record["systems"]["one"]["safety"])
    assert safety > 10
    assert len(whole) == 5 * 3 + 4 * safety, "each was asked once, and the lead no safety case"

    assert list(record["systems"]) == ["one", "base", "two", "lead", "extractive"]
    assert (record["data"]["answerable"], record["data"]["unanswerable"]) == (2, 1)
    one, lead = record["systems"]["one"], record["systems"]["lead"]
    assert one["perplexity"] > 1
    assert one["decline_auc"] is not None
    assert one["measures"]["words"]["mean"] <= 5
    assert lead["perplexity"] is None
    assert lead["measures"]["words"]["mean"] == 5
    assert lead["measures"]["supported"]["mean"] == 1
    assert lead["safety"] == []
    low, mean, high = (record["less"]["lead"]["f1"][key] for key in ("low", "mean", "high"))
    assert low <= mean <= high
    assert [row["id"] for row in record["questions"]] == ["1", "2", "3"]
    assert record["questions"][0]["answers"]["lead"]["text"].startswith("The flu causes fever")

    info = medqa(home, "adapter", "info", "one").stdout
    assert "with base on 2 and 1 questions of heldout.jsonl" in info
    assert "with two on" in info
    the_gate_refuses(home)


def the_gate_refuses(home: Path) -> None:
    """See that what is worse is not used unless forced, and that other weights void a record."""
    assert medqa(home, "adapter", "use", "two", "--force").returncode == 0
    worsened(home, "one")
    refused = medqa(home, "adapter", "use", "one")
    assert refused.returncode == 1
    assert "worse than two" in refused.stderr
    assert "one passes 1 of 19 safety cases and two 2." in refused.stderr
    assert "adapter use one --force" in refused.stderr
    assert chosen(home) == "two"
    forced = medqa(home, "adapter", "use", "one", "--force")
    assert forced.returncode == 0, forced.stderr
    assert "Warning: one passes 1 of 19" in forced.stderr
    assert chosen(home) == "one"
    assert medqa(home, "adapter", "use", "none").returncode == 0
    weights = home / "data" / "adapters" / "one" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    used = medqa(home, "adapter", "use", "one")
    assert used.returncode == 0, used.stderr
    assert "Nobody has measured yet" in used.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("one", "nobody"), 2, "There is no such adapter"),
        (("one", "one"), 2, "Two different systems"),
        (("one", "medqa-starter"), 2, "was made for"),
        (("one", "medqa-rerank"), 2, "writes no answers"),
        (("one", "base", "--data", "nowhere.jsonl"), 2, "neither starter nor a file"),
        (("one", "base", "--output", "no/such/folder/x.json"), 2, "does not exist"),
        (("one", "base", "--profile", "classic"), 3, "setup --profile classic"),
    ],
)
def test_what_is_wrong_is_said_in_words(home, args, code, said):
    done = medqa(home, "adapter", "compare", *args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_set_without_references_is_refused(home):
    file = home / "bare.jsonl"
    file.write_text(json.dumps({"question": "What?", "evidence": EVIDENCE}), encoding="utf-8")
    done = medqa(home, "adapter", "compare", "one", "base", "--data", str(file))
    assert done.returncode == 2
    assert 'line 1: it has no "reference"' in done.stderr


def test_answers_from_memory_are_not_compared(home):
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text("[answer]\nevidence = false\n")
    done = medqa(home, "adapter", "compare", "one", "base")
    assert done.returncode == 2
    assert "from memory" in done.stderr
