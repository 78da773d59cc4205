"""How likely a model finds an answer: as a forward pass over the whole of it would say."""

from __future__ import annotations

import pytest
import torch

from medqa_tui.generation import prompt
from medqa_tui.generation.local import LocalGenerator

from . import tiny_llama, tiny_t5

KNOWN = tiny_llama.ANSWERS[tiny_llama.SYMPTOMS]
OTHER = "The flu causes fever in most people."


def test_a_causal_model_is_read_as_in_one_pass(generator):
    request = tiny_llama.request()
    known, other, declining = generator.likelihood(request, [KNOWN, OTHER, prompt.ABSTAIN])
    tokenizer, model = generator._tokenizer, generator._loaded.model
    messages = list(prompt.build(request.question, request.evidence))
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    said = tokenizer(OTHER)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([asked["input_ids"] + said])).logits[0].float()
    rows = logits[len(asked["input_ids"]) - 1 : -1].log_softmax(-1)
    whole = [float(rows[at, token]) for at, token in enumerate(said)]
    assert other == pytest.approx(whole, abs=0.1), "up to bf16 rounding"
    assert len(known) == len(tokenizer(KNOWN)["input_ids"])
    # It was learnt by heart.
    assert sum(known) / len(known) > -0.1 > -1 > sum(other) / len(other)
    assert sum(declining) < sum(known)


def test_an_encoder_decoder_is_too(tmp_path):
    question, answer = "What are the symptoms of asthma?", "Asthma causes wheezing."
    folder = tiny_t5.build(tmp_path / "t5", {prompt.closed_book_text(question): answer})
    generator = LocalGenerator.load(folder, None, "classic", "tests/tiny", device="cpu", threads=1)
    request = tiny_llama.request(question, evidence=(), closed_book=True)
    known, other = generator.likelihood(request, [answer, "Asthma causes fever."])
    assert sum(known) > -1
    assert sum(known) > sum(other)
