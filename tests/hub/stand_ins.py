"""Tiny models of the architectures that the hub profiles name, served under the same ids."""

from __future__ import annotations

from pathlib import Path

from models import tiny_bert, tiny_llama, tiny_t5
from models.pairs import PAIRS

from medqa_tui.models.catalog import get_profile

from .loopback import LoopbackHub


def build_flashcards(folder: Path) -> dict[str, Path]:
    """Write a Llama that answers, a LoRA adapter for it, an encoder and a cross-encoder."""
    profile = get_profile("flashcards")
    assert profile.adapter_component is not None
    assert profile.reranker is not None
    llama = tiny_llama.save_trained(folder / "llama")
    adapter = tiny_llama.save_adapter(llama, folder / "adapter")
    (adapter / "README.md").write_text(
        f"---\nbase_model: {profile.generator.id}\nlicense: mit\n---\nAn adapter.\n",
        encoding="utf-8",
    )
    name_base(adapter, profile.generator.id)
    return {
        profile.generator.id: llama,
        profile.adapter_component.id: adapter,
        profile.embedder.id: tiny_bert.build_sentence_transformer(folder / "embedder"),
        profile.reranker.id: tiny_bert.build_cross_encoder(folder / "reranker"),
    }


def build_classic(folder: Path) -> dict[str, Path]:
    """Write an encoder-decoder; the profile's other parts are those of flashcards."""
    answers = {
        f"Medical question: {question}": "Asthma causes wheezing and coughing."
        for question in ("What are the symptoms of asthma?",)
    }
    texts = [text for pair in PAIRS for text in pair]
    return {"google/flan-t5-large": tiny_t5.build(folder / "t5", answers, texts)}


def name_base(adapter: Path, base: str) -> None:
    """Write the base's public id into the adapter's configuration, as a published one has it."""
    import json

    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["base_model_name_or_path"] = base
    path.write_text(json.dumps(config), encoding="utf-8")


def serve(hub: LoopbackHub, folders: dict[str, Path]) -> dict[str, str]:
    """Serve them all; returns the commit of each."""
    return {name: hub.add(name, folder) for name, folder in folders.items()}
