"""The real loading code on tiny models of four families: NF4 on the CPU, saved, adapted, asked."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from medqa_tui.events import GenerationDone, Token
from medqa_tui.generation import prompt, weights
from medqa_tui.generation.device import Attempt, Host
from medqa_tui.generation.local import LocalGenerator
from medqa_tui.generation.quantize import quantize_folder

from . import tiny_gemma, tiny_llama, tiny_qwen, tiny_t5
from .tiny_parts import save_lora

BUILDERS = {
    "llama": tiny_llama.build,
    "qwen2": lambda folder: tiny_qwen.build(folder, 2),
    "qwen3": lambda folder: tiny_qwen.build(folder, 3),
    "gemma2": lambda folder: tiny_gemma.build(folder, 2),
    "gemma3": lambda folder: tiny_gemma.build(folder, 3),
    "t5": tiny_t5.build,
}
NO_GPU = Host()


@pytest.fixture(scope="module", params=BUILDERS)
def family(request, tmp_path_factory):
    """Folders of one family: dense, saved in NF4, and a LoRA adapter."""
    folder = tmp_path_factory.mktemp(request.param)
    dense = BUILDERS[request.param](folder / "dense")
    quantize_folder(dense, folder / "nf4")
    adapter = save_lora(dense, folder / "lora", std=0.2)
    return request.param, dense, folder / "nf4", adapter


def logits(model):
    import torch

    ids = torch.arange(5, 21).reshape(1, -1)
    more = {}
    if model.config.is_encoder_decoder:
        more["decoder_input_ids"] = torch.tensor([[0, 7, 8, 9]])
    with torch.no_grad():
        return model(input_ids=ids, **more).logits.float()


def linears(model):
    return [m for m in model.modules() if type(m).__name__ == "Linear4bit"]


def test_what_was_saved_in_nf4_is_what_quantizing_gives(family):
    import torch

    name, dense, nf4, _ = family
    quantized = weights._load_base(dense, Attempt("cpu", "nf4", "", fall=False)).eval()
    saved = weights.load(nf4, host=NO_GPU)
    assert saved.attempt.quantization == "nf4"
    assert saved.seq2seq is (name == "t5")
    assert linears(saved.model)
    assert torch.equal(logits(saved.model), logits(quantized))
    assert torch.equal(logits(saved.model), logits(weights.load(nf4, host=NO_GPU).model))
    assert saved.notices == ()


def test_an_unmerged_adapter_computes_what_a_merged_one_does(family):
    import torch
    from peft import PeftModel

    _, _, nf4, adapter = family
    bare = weights.load(nf4, host=NO_GPU).model
    adapted = weights.load(nf4, adapter, host=NO_GPU)
    assert adapted.adapter == "lora"
    ours = logits(adapted.model)
    assert (ours - logits(bare)).abs().max() > 0.05
    # The reference: the same 4-bit values unpacked, and the adapter added to them in fp32.
    whole = weights._load_base(nf4, Attempt("cpu", "fp32", "", fall=True)).float()
    merged = PeftModel.from_pretrained(whole, str(adapter)).merge_and_unload().eval()
    reference = logits(merged)
    difference = (ours - reference).abs().max()
    assert difference < 0.05 * reference.abs().max()
    # And where the adapter is off, the base is untouched.
    adapted.adapters.use(None)
    assert torch.equal(logits(adapted.model), logits(bare))


def test_each_family_answers_with_its_adapter(family):
    name, _, nf4, adapter = family
    generator = LocalGenerator.load(nf4, adapter, "p", "tests/tiny", host=NO_GPU, threads=1)
    asked = tiny_llama.request(max_new_tokens=12, prompt_lookup=0)
    *events, done = generator.stream(asked, threading.Event())
    assert isinstance(done, GenerationDone)
    assert done.tokens.prompt > 20
    assert 1 <= done.tokens.completion <= 12
    assert "".join(event.text for event in events if isinstance(event, Token)) == done.text
    assert (done.model.adapter, done.model.quantization) == ("lora", "nf4"), name


@pytest.mark.cuda
def test_each_family_answers_on_cuda(family):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    name, dense, nf4, adapter = family
    for folder in (nf4, dense):
        generator = LocalGenerator.load(folder, adapter, "p", "tests/tiny")
        assert generator.info.device == "cuda"
        dense_t5 = name == "t5" and folder is dense
        assert generator.info.quantization == ("bf16" if dense_t5 else "nf4")
        asked = tiny_llama.request(max_new_tokens=8, prompt_lookup=0)
        *_, done = generator.stream(asked, threading.Event())
        assert done.tokens.completion >= 1


def test_a_template_without_a_system_role_gets_its_words_in_the_user_turn(tmp_path):
    generator = LocalGenerator.load(tiny_gemma.build(tmp_path), None, "p", "b", host=NO_GPU)
    fitted = generator._fit(tiny_llama.request(), 900)
    text = generator._tokenizer.decode(generator._chat.render(fitted.messages))
    system, user = (message["content"] for message in fitted.messages)
    assert text.count("<start_of_turn>user\n") == 1
    assert f"<start_of_turn>user\n{system}\n\n{user}<end_of_turn>" in text
    assert text.startswith("<bos>")
    assert text.endswith("<start_of_turn>model\n")


def test_a_model_that_can_think_is_told_not_to_and_its_thoughts_are_not_shown(tmp_path):
    question, said = "What is asthma?", "Asthma is a disease of the airways."
    thought = f"<think>\nThe user asks. Hm. Well.\n</think>\n\n{said}"
    folder = tiny_qwen.build(tmp_path, 3, {question: thought})
    generator = LocalGenerator.load(folder, None, "p", "b", host=NO_GPU)
    ids = generator._chat.render(prompt.closed_book(question))
    assert generator._tokenizer.decode(ids).endswith("assistant\n<think>\n\n</think>\n\n")
    asked = tiny_llama.request(question, closed_book=True, evidence=())
    *events, done = generator.stream(asked, threading.Event())
    assert done.text == said
    assert "".join(event.text for event in events) == said
    assert done.tokens.completion > len(generator._tokenizer(said)["input_ids"]) + 5


def test_a_thought_that_the_prompt_opened_is_not_shown(tmp_path):
    chat = LocalGenerator.load(tiny_qwen.build(tmp_path), None, "p", "b", host=NO_GPU)._chat
    encode = chat._tokenizer.encode
    assert chat.thinks_at(encode("<|im_start|>assistant\n<think>\n"))
    assert not chat.thinks_at(encode("<think>\n\n</think>\n\n"))
    whole = encode("Hm. So it is.</think>\n\nAsthma is common.")
    shown = [chat.spoken(whole[:count], thinking=True) for count in range(len(whole) + 1)]
    assert shown[-1] == "Asthma is common."
    assert all(after.startswith(before) for before, after in pairwise(shown))
    assert chat.spoken(encode("No thought at all.")) == "No thought at all."
