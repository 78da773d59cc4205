"""Training a tiny random cross-encoder: it learns, goes on where it stopped, and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.retrieval.blending import Blend
from medqa_tui.retrieval.reranker import Reranker, encode_pairs
from medqa_tui.training import reranker as training
from medqa_tui.training.groups import Group
from medqa_tui.training.presets import RerankPreset, read_preset
from medqa_tui.training.progress import Stopped
from medqa_tui.training.rerank_job import measured
from medqa_tui.training.runcard import write_card

from . import tiny_encoder

THINGS = ("type 2 diabetes", "asthma", "stroke", "heart attack", "fever", "cough")
TEXTS = [f"{thing} is treated ." for thing in THINGS]
GROUPS = [
    Group(
        f"how is {thing} treated ?",
        (TEXTS[n], TEXTS[n - 1], TEXTS[n - 2]),
        (0.5, 0.5, 0.5),
    )
    for n, thing in enumerate(THINGS)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_encoder.build(tmp_path_factory.mktemp("encoder") / "model")


def preset(**more) -> RerankPreset:
    small = read_preset("reranker", RerankPreset, "starter-rerank")
    steps = more.pop("steps")
    return replace(
        small,
        rank=8,
        alpha=16,
        groups=6,
        negatives=2,
        max_tokens=32,
        pairs=steps * 18,
        learning_rate=2e-3,
        head_learning_rate=2e-2,
        **more,
    )


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    return training.train(
        base, GROUPS * 150, preset(steps=150), tmp_path_factory.mktemp("work"), device="cpu"
    )


def test_a_few_pairs_are_learnt_by_heart(run):
    assert run.losses[0][1] > 0.8
    assert run.losses[-1][1] < 0.1
    scores = training.score_groups(run, GROUPS, 32)
    assert all(own == max(group) for group in scores for own in group[:1])
    outcome = measured(GROUPS, scores)
    assert outcome.before == pytest.approx(1 / 3)
    assert outcome.alone == outcome.fused == 1.0


def test_only_adapter_and_head_are_learnt(run):
    learnt = {name for name, p in run.model.named_parameters() if p.requires_grad}
    assert learnt
    assert all("lora_" in name or "classifier" in name for name in learnt)


@pytest.fixture(scope="module")
def adapter(run, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "own"
    training.save(run.model, folder, tiny_encoder.BASE_ID)
    card = {
        "name": "own",
        "title": "own",
        "base": tiny_encoder.BASE_ID,
        "base_revision": tiny_encoder.REVISION,
        "licence": "none",
        "attribution": "none",
        "template_sha256": "",
        "max_tokens": 32,
        "blend": {"reach": 0.5, "absent": -2},
    }
    write_card(folder, card)
    return folder


def test_the_adapter_comes_back_with_the_same_scores(run, base, adapter):
    reranker = Reranker.load(adapter, base_folder=base)
    assert reranker.blend == Blend(0.5, -2.0)
    assert reranker.reading.max_tokens == 32
    expected = training.score_groups(run, GROUPS, 32)
    for group, scores in zip(GROUPS, expected, strict=True):
        again = reranker.score(group.query, group.texts)
        # One adds the adapter to the weights and rounds the sum to bf16, the other the parts.
        assert again == pytest.approx(scores, abs=0.5)
        assert again == Reranker.load(adapter, base_folder=base).score(group.query, group.texts)
        assert again.index(max(again)) == scores.index(max(scores)) == 0
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_encoder.BASE_ID


def test_the_adapter_is_refused_on_another_base(adapter, base, tmp_path):
    other = tiny_encoder.build(tmp_path / "other", base_id="tests/another")
    with pytest.raises(MedQAError, match="could not be loaded") as caught:
        Reranker.load(adapter, base_folder=other)
    assert "made for tests/tiny-encoder, not for tests/another" in caught.value.detail
    with pytest.raises(MedQAError, match="could not be loaded") as caught:
        Reranker.load(adapter)
    assert "no base model was given" in caught.value.detail


def test_changed_weights_are_refused(adapter, base, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    file = broken / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(MedQAError, match="could not be loaded") as caught:
        Reranker.load(broken, base_folder=base)
    assert "SHA-256 differs" in caught.value.detail


def test_an_encoder_without_a_head_is_no_reranker(base):
    with pytest.raises(MedQAError, match="could not be loaded") as caught:
        Reranker.load(base)
    assert "it has no classifier" in caught.value.detail or "scores a pair" in caught.value.detail


def test_going_on_equals_never_having_stopped(base, tmp_path):
    settings = preset(steps=20)
    groups = GROUPS * 20
    whole = training.train(base, groups, settings, tmp_path / "whole")
    cancel = threading.Event()
    with pytest.raises(Stopped):
        training.train(
            base,
            groups,
            settings,
            tmp_path / "parted",
            on_event=lambda event: cancel.set(),
            cancel=cancel,
        )
    checkpoint = training.last_checkpoint(tmp_path / "parted")
    assert checkpoint is not None
    # One that was being written when the process died is passed over.
    half = checkpoint.with_name("checkpoint-19")
    half.mkdir()
    (half / "trainer_state.json").write_text("{}")
    assert training.last_checkpoint(tmp_path / "parted") == checkpoint
    parted = training.train(base, groups, settings, tmp_path / "parted", resume=True)
    assert [step for step, _ in parted.losses] == [10, 20]
    assert dict(parted.losses) == pytest.approx(dict(whole.losses))
    learnt = {n: p for n, p in whole.model.named_parameters() if p.requires_grad}
    for name, value in parted.model.named_parameters():
        if value.requires_grad:
            assert (value - learnt[name]).abs().max() < 1e-6, name


def test_passages_are_cut_and_questions_are_not(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    query = "what are the symptoms of asthma ?"
    batch = encode_pairs(tokenizer, [query, query], ["fever " * 90, "cough"], 24)
    asked = tokenizer(query)["input_ids"]
    assert batch["input_ids"].shape == (2, 24)
    assert batch["input_ids"][0, : len(asked)].tolist() == asked
    assert batch["attention_mask"].sum(dim=1).tolist() == [24, len(asked) + 2]
    assert batch["token_type_ids"][1, len(asked)] == 1
    # A question that leaves no room is shortened, so that some of the passage is read.
    batch = encode_pairs(tokenizer, ["asthma " * 90], ["fever"], 24)
    assert batch["input_ids"].shape[1] <= 24
    assert tokenizer.convert_tokens_to_ids("fever") in batch["input_ids"][0].tolist()


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    models = home / "data" / "models"
    models.mkdir(parents=True)
    tiny_encoder.build(models / "all-minilm-l6-v2", name="all-minilm-l6-v2")
    rows = [
        {"query": f"how is {thing} treated ?", "positive": text, "negatives": [TEXTS[n - 1]]}
        for n, (thing, text) in enumerate(zip(THINGS, TEXTS, strict=True))
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    environment = {**os.environ, "MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment.pop("MEDQA_BENCH_DATA", None)

    def command(steps: int, *more: str) -> tuple[list[str], dict[str, str]]:
        small = {"pairs": 6 * steps, "groups": 3, "negatives": 1, "checkpoint_steps": 2}
        sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
        words = ["train", "reranker", "--data", str(data), "--output", "own", *sets, *more]
        return [sys.executable, "-m", "medqa_tui", *words], environment

    command.home = home
    return command


def test_killed_and_gone_on_with_through_the_command_line(home):
    arguments, environment = home(4000)
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    work = home.home / "cache" / "training" / "own"
    waiting = threading.Event()
    while process.poll() is None and training.last_checkpoint(work) is None:
        waiting.wait(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached = training.last_checkpoint(work)
    assert reached is not None
    assert not (home.home / "data" / "adapters" / "own").exists()
    steps = int(reached.name.rpartition("-")[2])
    arguments, environment = home(steps + 12, "--resume", "--json")
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = home.home / "data" / "adapters" / "own"
    assert json.loads(done.stdout)["folder"] == str(made)
    card = json.loads((made / "card.json").read_text())
    assert card["kind"] == "reranker"
    assert card["base"] == tiny_encoder.BASE_ID
    assert card["data"]["pairs.jsonl"]["examples"] == len(THINGS)
    assert card["losses"]
    assert not work.exists()
    base = home.home / "data" / "models" / "all-minilm-l6-v2"
    assert len(Reranker.load(made, base_folder=base).score("asthma", TEXTS)) == len(TEXTS)
