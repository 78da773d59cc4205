"""Tiny random Gemma 2 and Gemma 3 text models; their chat templates know no system role."""

from __future__ import annotations

from pathlib import Path

from .tiny_parts import TEXTS, byte_tokenizer, save, shape

_TURNS = (
    "{% for message in messages %}"
    "{{ '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' }}"
    "{{ message.content | trim }}{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + _TURNS
)
SPECIAL = {
    "pad_token": "<pad>",
    "eos_token": "<end_of_turn>",
    "bos_token": "<bos>",
    "unk_token": "<unk>",
    "start": "<start_of_turn>",
}


def build(folder: Path, version: int = 3) -> Path:
    """Write a tiny random bf16 Gemma 2 or Gemma 3 text model."""
    import torch
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
    )

    tokenizer = byte_tokenizer(TEXTS, SPECIAL, TEMPLATE)
    torch.manual_seed(0)
    sizes = shape(tokenizer) | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}
    if version == 2:
        model = Gemma2ForCausalLM(Gemma2Config(**sizes))
    else:
        # One layer that looks back a window, one that looks at everything.
        layers = ["sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(layer_types=layers, **sizes))
    return save(model, tokenizer, folder)
