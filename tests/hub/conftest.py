"""A hub of this machine's own, and repositories of a few hundred kilobytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .loopback import LoopbackHub


def write_model(folder: Path, seed: int = 0, size: int = 60_000) -> Path:
    """Write what looks like a model to a hub: two files of weights, a config, words."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for part in (1, 2):
        tensors = {f"layer.{part}": random.standard_normal(size).astype(np.float32)}
        save_file(tensors, folder / f"model-0000{part}-of-00002.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny"}), encoding="utf-8")
    (folder / "README.md").write_text("# A model\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub with the model `maker/model`, which huggingface_hub finds."""
    with LoopbackHub() as served:
        served.add("maker/model", write_model(tmp_path / "served"))
        for name, value in served.environment(tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served
