"""Saving and loading: NF4 round trips, every fall of the device plan, adapters that do not fit."""

from __future__ import annotations

import json
import shutil

import pytest

from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.generation import quantize, weights
from medqa_tui.generation.device import Attempt, Host
from medqa_tui.generation.prompt import template_hash
from medqa_tui.models.shipped import AdapterCard

IDS = [[7, 8, 9, 10, 11, 12]]


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor(IDS)).logits


def test_saved_and_reloaded_nf4_gives_identical_logits(dense_llama, nf4_llama):
    import torch
    from transformers import AutoModelForCausalLM

    in_memory = AutoModelForCausalLM.from_pretrained(
        dense_llama,
        quantization_config=weights.nf4_config(),
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
    ).eval()
    once, again = (weights.load(nf4_llama, wanted="cpu").model for _ in range(2))
    assert torch.equal(logits(in_memory), logits(once))
    assert torch.equal(logits(once), logits(again))


def test_a_dense_folder_is_quantized_while_loading(dense_llama, nf4_llama):
    import torch

    loaded = weights.load(dense_llama, wanted="cpu")
    assert loaded.attempt.quantization == "nf4"
    assert torch.equal(logits(loaded.model), logits(weights.load(nf4_llama, wanted="cpu").model))


def test_chat_template_and_ends_survive(dense_llama, nf4_llama):
    from transformers import AutoTokenizer, GenerationConfig

    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (dense_llama, nf4_llama))
    assert after.chat_template == before.chat_template
    assert after.eos_token == "<|end|>"
    assert GenerationConfig.from_pretrained(nf4_llama).eos_token_id == after.eos_token_id
    assert weights.is_quantized(nf4_llama)
    assert not weights.is_quantized(dense_llama)


@pytest.mark.parametrize("saved", ["nf4_llama", "dense_llama"])
def test_bf16_loads_from_either_folder(saved, request):
    folder = request.getfixturevalue(saved)
    model = weights._load_base(folder, Attempt("cpu", "bf16", "", fall=True)).eval()
    assert not any(type(module).__name__ == "Linear4bit" for module in model.modules())
    assert logits(model).isfinite().all()


def test_a_gpu_that_does_not_work_falls_to_the_cpu_and_says_so(nf4_llama):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device that works")
    loaded = weights.load(nf4_llama, host=Host("Some GPU", gpu_4bit=True))
    assert (loaded.attempt.device, loaded.attempt.quantization) == ("cpu", "nf4")
    assert [code for code, _ in loaded.notices] == ["cuda_bf16", "cpu_nf4"]
    assert "Some GPU cannot be used" in loaded.notices[-1][1]


def test_asking_for_a_gpu_that_is_not_there_is_said(nf4_llama):
    loaded = weights.load(nf4_llama, wanted="cuda", host=Host())
    assert [code for code, _ in loaded.notices] == ["cpu_nf4"]
    assert weights.load(nf4_llama, host=Host()).notices == ()


def test_damaged_weights_load_nowhere(nf4_llama, tmp_path):
    folder = shutil.copytree(nf4_llama, tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EngineError, match="could not be loaded") as caught:
        weights.load(folder, host=Host())
    assert "cpu nf4" in caught.value.detail
    assert "doctor" in caught.value.hint


def test_an_adapter_of_another_shape_is_refused(nf4_llama, llama_adapter, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(llama_adapter, tmp_path / "wrong")
    path = folder / "adapter_model.safetensors"
    save_file({k: torch.zeros(3, 5) for k in load_file(path)}, path)
    with pytest.raises(MedQAError, match="does not fit"):
        weights.load(nf4_llama, folder, "cpu")


@pytest.mark.parametrize(
    ("template", "attached"),
    [(template_hash(), True), (template_hash(True), True), ("0" * 64, False)],
)
def test_an_adapter_trained_with_another_prompt_is_left_out(
    nf4_llama, llama_adapter, tmp_path, template, attached
):
    folder = shutil.copytree(llama_adapter, tmp_path / "with-card")
    card = dict.fromkeys(AdapterCard.__dataclass_fields__, "x")
    card |= {"template_sha256": template, "abstain_logprob": None}
    (folder / "card.json").write_text(json.dumps(card))
    loaded = weights.load(nf4_llama, folder, "cpu")
    assert loaded.adapter == ("with-card" if attached else None)
    assert [code for code, _ in loaded.notices] == ([] if attached else ["adapter_left_out"])
    assert hasattr(loaded.model, "peft_config") is attached


def test_a_model_without_a_chat_template_is_refused(nf4_llama, tmp_path):
    folder = shutil.copytree(nf4_llama, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = folder / "tokenizer_config.json"
    data = json.loads(config.read_text())
    data.pop("chat_template", None)
    config.write_text(json.dumps(data))
    with pytest.raises(MedQAError, match="no chat template"):
        weights.load(folder)


def test_publishing_replaces_whole_folders(tmp_path):
    out = tmp_path / "out"
    for word in ("first", "second"):
        made = tmp_path / ".out.partial" / "nf4"
        made.mkdir(parents=True)
        (made / word).write_text(word)
        quantize._publish(made, out)
        shutil.rmtree(tmp_path / ".out.partial")
        assert [path.name for path in out.iterdir()] == [word]


def test_a_file_that_is_no_model_leaves_nothing(tmp_path):
    with pytest.raises(MedQAError, match="missing"):
        quantize.quantize_gguf(tmp_path / "none.gguf", tmp_path / "out")
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF but not really" * 10)
    (tmp_path / ".out.partial").mkdir()
    with pytest.raises(MedQAError, match="cannot be read"):
        quantize.quantize_gguf(junk, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junk.gguf"]
