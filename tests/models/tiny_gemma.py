"""Tiny random Gemma 2 and Gemma 3 text models; their chat templates know no system role."""

from __future__ import annotations

from pathlib import Path

from .tiny_parts import TEXTS, byte_tokenizer

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
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if version == 2:
        model = Gemma2ForCausalLM(Gemma2Config(**shape))
    else:
        # One layer that looks back a window, one that looks at everything.
        layers = ["sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(layer_types=layers, **shape))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
