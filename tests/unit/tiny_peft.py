"""Adapters in PEFT format for a Llama of two layers, written without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from medqa_tui.models.active import Active
from medqa_tui.paths import Paths, get_paths

BASE = "maker/tiny-llama"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
}
SIZES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (16, 8),
    "self_attn.v_proj": (16, 8),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (16, 32),
    "mlp.up_proj": (16, 32),
    "mlp.down_proj": (32, 16),
}
T5 = {"is_encoder_decoder": True, "d_model": 16, "num_heads": 2, "d_kv": 4, "d_ff": 32}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    "added_tokens": [{"id": 2, "content": "<end>"}],
}
CARD = """---
license: apache-2.0
base_model: maker/tiny-llama
datasets: [someone/questions]
model-index:
- name: it
  results:
  - dataset: {name: MedQA, type: medqa}
    metrics: [{type: accuracy, value: 0.41}]
---
# An adapter
"""


def tensors(rank: int = 4, layers: int = 2) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a LoRA adapter on every linear layer."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for module, (inside, outside) in SIZES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            found[f"{name}.lora_A.weight"] = (rank, inside)
            found[f"{name}.lora_B.weight"] = (outside, rank)
    return found


def safetensors(shapes: dict[str, tuple[int, ...]], dtype: str = "F32") -> bytes:
    """Return a safetensors file of zeros."""
    width, at, table = {"F32": 4, "BF16": 2, "I8": 1}[dtype], 0, {}
    for name, shape in shapes.items():
        size = width
        for side in shape:
            size *= side
        row = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        table[name] = row
        at += size
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + bytes(at)


def config(**changes: Any) -> dict[str, Any]:
    """Return an adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": BASE,
        "r": 4,
        "lora_alpha": 8,
        "target_modules": sorted({name.split(".")[1] for name in SIZES}),
        **changes,
    }


def write(
    folder: Path,
    shapes: dict[str, tuple[int, ...]] | None = None,
    card: str | None = CARD,
    **changes: Any,
) -> Path:
    """Write an adapter into `folder`; `changes` go into its configuration."""
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(shapes or tensors()))
    text = json.dumps(config(**changes))
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def write_base(folder: Path, model: dict[str, Any] | None = None) -> Path:
    """Write what is looked at of a base model: its configuration and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model or LLAMA), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    return folder


def home_in_use() -> Paths:
    """Put the tiny base into MEDQA_HOME as the model of a profile in use."""
    paths = get_paths()
    active = Active("starter", BASE, "tiny", "embedder", "starter")
    write_base(active.generator_dir(paths))
    active.write(paths)
    return paths
