"""Which adapters are refused on which model, and why; told from files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_peft
from tiny_peft import BASE, LLAMA, T5, tensors, write, write_base

from medqa_tui.generation.prompt import template_hash
from medqa_tui.models.adapter_check import adapted_modules, check
from medqa_tui.models.adapter_config import AdapterConfig
from medqa_tui.models.base_names import find_base, is_hub_id, same_base
from medqa_tui.models.files import sha256_file

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize(
    "written",
    [
        SMOL,
        SMOL.lower(),
        "/home/someone/.cache/huggingface/hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/1",
        "/data/models/smollm2-135m-instruct-nf4",
        "C:\\models\\SmolLM2-135M-Instruct",
        "./SmolLM2-135M-Instruct/",
        "unsloth/SmolLM2-135M-Instruct-unsloth-bnb-4bit",
        "SmolLM2-135M-Instruct",
    ],
)
def test_a_base_is_known_however_it_was_written(written: str) -> None:
    assert same_base(written, SMOL)
    assert find_base(written, ["google/flan-t5-base", SMOL]) == SMOL


@pytest.mark.parametrize(
    "written",
    ["HuggingFaceTB/SmolLM2-135M", "someone/SmolLM2-135M-Instruct", "/tmp/model", "", "../.."],
)
def test_another_base_is_another(written: str) -> None:
    assert not same_base(written, SMOL)


def test_an_id_of_the_hub_is_told_from_a_path() -> None:
    assert is_hub_id("google/flan-t5-base")
    assert not any(map(is_hub_id, ("/google/flan", "google", "a/b/c", "../b", "a/..", "a b/c")))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def problems(folder: Path, base: Path, **more: Any) -> list[str]:
    return check(folder, BASE, base_folder=base, **more)


def test_an_adapter_on_its_base_fits(tmp_path: Path, base: Path) -> None:
    assert problems(write(tmp_path / "a"), base) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_model_name_or_path": "maker/other"}, "made for maker/other, not for"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "SEQ_2_SEQ_LM"),
        ({"r": 8}, "Its rank is 8"),
        ({"r": 100000}, "rank"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "Megatron"),
        ({"layer_replication": [[0, 2]]}, "repeats layers"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the weights of its base"),
        ({"rank_pattern": {"(a+)+$": 4}}, "pattern"),
        ({"target_modules": ["q_proj", "nowhere"]}, "nowhere"),
        ({"target_modules": ["q_proj"]}, "does not name"),
    ],
)
def test_a_wrong_configuration_is_refused(
    tmp_path: Path, base: Path, changes: dict[str, Any], said: str
) -> None:
    found = problems(write(tmp_path / "a", **changes), base)
    assert found
    assert said in found[0]


def with_shape(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {**tensors(), f"base_model.model.model.layers.0.{name}.weight": shape}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (with_shape("self_attn.q_proj.lora_A", (4, 24)), "24 instead of 16"),
        (with_shape("self_attn.k_proj.lora_B", (64, 4)), "64 instead of 8"),
        (with_shape("mlp.down_proj.lora_A", (4, 16)), "16 instead of 32"),
        (with_shape("mlp.down_proj.lora_A", (3, 32)), "rank"),
        (tensors(layers=5), "layer 2"),
        ({"model.weight": (2, 2)}, "no LoRA weights"),
        ({**tensors(), "base_model.model.extra": (9,)}, "no LoRA weight"),
        ({k: v for k, v in tensors().items() if "layers.1.mlp.up_proj.lora_B" not in k}, "missing"),
    ],
)
def test_wrong_weights_are_refused(
    tmp_path: Path, base: Path, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    found = problems(write(tmp_path / "a", shapes), base)
    assert found
    assert said in found[0]


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, base: Path) -> None:
    folder = write(tmp_path / "a")
    data = tiny_peft.safetensors(tensors(), "I8")
    (folder / "adapter_model.safetensors").write_bytes(data)
    assert "type I8" in problems(folder, base)[0]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": "x"}', "null", "[" * 20000])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, base: Path, text: str) -> None:
    folder = write(tmp_path / "a")
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    assert problems(folder, base)


def test_shapes_of_a_t5(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", T5)
    name = "base_model.model.encoder.block.0.layer.0.SelfAttention"
    shapes = {f"{name}.q.lora_A.weight": (4, 16), f"{name}.q.lora_B.weight": (8, 4)}
    more = {"task_type": "SEQ_2_SEQ_LM", "target_modules": ["q"]}
    assert problems(write(tmp_path / "a", shapes, **more), base) == []
    shapes[f"{name}.q.lora_B.weight"] = (9, 4)
    assert "9 instead of 8" in problems(write(tmp_path / "b", shapes, **more), base)[0]
    more["task_type"] = "CAUSAL_LM"
    assert "task CAUSAL_LM" in problems(write(tmp_path / "c", shapes, **more), base)[0]


def test_the_text_part_of_a_model_with_eyes_is_looked_at(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", {"text_config": LLAMA, "vision_config": {}})
    eye = "base_model.model.vision_tower.layers.9.self_attn.q_proj"
    shapes = {**tensors(), f"{eye}.lora_A.weight": (4, 99), f"{eye}.lora_B.weight": (98, 4)}
    assert problems(write(tmp_path / "a", shapes), base) == []


def test_a_tokenizer_with_other_tokens_is_refused(tmp_path: Path, base: Path) -> None:
    folder = write(tmp_path / "a")
    row = {**tiny_peft.TOKENIZER, "version": "1.0", "truncation": {"max_length": 9}}
    (folder / "tokenizer.json").write_text(json.dumps(row), encoding="utf-8")
    assert problems(folder, base) == []
    row["added_tokens"] = [{"id": 3, "content": "<medical>"}]
    (folder / "tokenizer.json").write_text(json.dumps(row), encoding="utf-8")
    assert "other tokens" in problems(folder, base)[0]


def own_card(folder: Path, base: Path, **changes: str) -> Path:
    card = {
        "name": "mine",
        "title": "Mine",
        "base": BASE,
        "base_revision": "1",
        "licence": "MIT",
        "attribution": "Mine.",
        "template_sha256": template_hash(),
        "tokenizer_sha256": sha256_file(base / "tokenizer.json"),
        "weights_sha256": sha256_file(folder / "adapter_model.safetensors"),
        **changes,
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"base_revision": "2"}, "made for 2, not for 1"),
        ({"template_sha256": "0" * 64}, "another prompt"),
        ({"tokenizer_sha256": "0" * 64}, "another tokenizer"),
        ({"weights_sha256": "0" * 64}, "not those that its card"),
    ],
)
def test_what_a_card_of_ours_records_is_compared(
    tmp_path: Path, base: Path, changes: dict[str, str], said: str
) -> None:
    folder = own_card(write(tmp_path / "a"), base, **changes)
    found = problems(folder, base, revision="1")
    assert bool(found) == bool(said)
    assert not said or said in found[0]


Change = Callable[[dict[str, Any]], None]


def test_cleaning_binds_the_base_and_takes_patterns_out(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        target_modules=r".*\.(q|k|v)_proj(x+)+$",
        base_model_name_or_path="/tmp/x",
        auto_mapping={"parent_library": "os", "base_model_class": "system"},
        megatron_core="os",
        revision="abc",
    )
    modules = adapted_modules(tensors())
    row = AdapterConfig.read(folder).cleaned(BASE, modules)
    assert row["base_model_name_or_path"] == BASE
    assert row["target_modules"] == sorted(modules)
    assert row["target_modules"][0] == "model.layers.0.mlp.down_proj"
    assert row["auto_mapping"] is None
    assert row["revision"] is None


def test_cleaning_keeps_a_plain_list_of_modules(tmp_path: Path) -> None:
    config = AdapterConfig.read(write(tmp_path / "a"))
    assert config.cleaned(BASE, adapted_modules(tensors()))["target_modules"] == list(
        config.targets
    )
