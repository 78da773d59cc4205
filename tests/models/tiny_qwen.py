"""Tiny random Qwen2 and Qwen3 models, with the family's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medqa_tui.generation import prompt

from .tiny_parts import TEXTS, byte_tokenizer, learn, save, shape

# As the family's: a system message of its own where none is given, and for Qwen3 an empty thought
# before the answer where thinking is turned off.
_SYSTEM = "{% if messages[0].role == 'system' %}{{ turn('system', messages[0].content) }}"
_DEFAULT = "{% else %}{{ turn('system', 'You are a helpful assistant.') }}{% endif %}"
_TURN = (
    "{% macro turn(role, content) %}{{ '<|im_start|>' ~ role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}"
    "{% endmacro %}"
)
_OTHERS = (
    "{% for message in messages if message.role != 'system' %}"
    "{{ turn(message.role, message.content) }}{% endfor %}"
)
_BEGIN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
_NO_THOUGHT = (
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)
TEMPLATES = {
    2: _TURN + _SYSTEM + _DEFAULT + _OTHERS + _BEGIN + "{% endif %}",
    3: _TURN + _SYSTEM + "{% endif %}" + _OTHERS + _BEGIN + _NO_THOUGHT + "{% endif %}",
}
SPECIAL = {
    "pad_token": "<|endoftext|>",
    "eos_token": "<|im_end|>",
    "start": "<|im_start|>",
}


def build(folder: Path, version: int = 3, answers: Mapping[str, str] | None = None) -> Path:
    """Write a tiny bf16 Qwen2 or Qwen3 with tied embeddings; random, but for `answers`.

    Args:
        answers: What it learns to say, raw, to a closed-book question.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    answers = answers or {}
    texts = [*TEXTS, *answers, *answers.values()]
    tokenizer = byte_tokenizer(texts, SPECIAL, TEMPLATES[version])
    # Whole tokens that decoding does not leave out, as in the family's own tokenizers.
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in ("<think>", "</think>")])
    torch.manual_seed(0)
    sizes = shape(tokenizer) | {"tie_word_embeddings": True}
    if version == 2:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=16, **sizes))
    if answers:
        learn(model, [_row(tokenizer, *pair) for pair in answers.items()])
    return save(model, tokenizer, folder)


def _row(tokenizer, question: str, answer: str) -> tuple[list[int], list[int]]:
    asked = tokenizer.apply_chat_template(
        list(prompt.closed_book(question)),
        add_generation_prompt=True,
        return_dict=True,
        enable_thinking=False,
    )["input_ids"]
    said = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return asked, [*said, tokenizer.eos_token_id]
