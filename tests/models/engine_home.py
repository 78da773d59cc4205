"""A whole MEDQA_HOME with tiny random models and a real index of the starter cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medqa_tui.corpus.ingest import ingest_starter
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.models.active import Active
from medqa_tui.paths import Paths

from .tiny_llama import SPECIAL, TEMPLATE
from .tiny_parts import byte_tokenizer, save, shape

PROFILE = "starter"


def home_paths(home: Path) -> Paths:
    """Return the folders that `MEDQA_HOME=home` means."""
    return Paths(*(home / name for name in ("config", "data", "cache", "state", "run")))


def make_home(home: Path, pace: int = 2) -> Paths:
    """Fill `home` with what setup would have left there, and return its folders.

    Args:
        pace: Layers of the language model: more of them make it slower.
    """
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.index import build_index

    paths = home_paths(home)
    active = Active(PROFILE, "tests/tiny-llama", "tiny-llama", "tiny-bert", "tiny")
    with CorpusStore(paths.corpora / "corpora.db") as store:
        ingest_starter(store)
        texts = [record.passage.text for record in store.records()]
        save_embedder(active.embedder_dir(paths), texts)
        save_generator(active.generator_dir(paths), texts, layers=pace)
        build_index(store, Embedder.load(active.embedder_dir(paths)), active.index_dir(paths))
    active.write(paths)
    return paths


def save_generator(folder: Path, texts: list[str], layers: int) -> None:
    """Save a random Llama with a tokenizer that was trained on `texts`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(texts)
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": layers, "max_position_embeddings": 8192}
    save(LlamaForCausalLM(LlamaConfig(**shape(tokenizer) | sizes)), tokenizer, folder)


def save_embedder(folder: Path, texts: list[str]) -> None:
    """Save a random BERT as a sentence-transformers folder."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer(texts)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    plain = folder / "plain"
    BertModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    encoder = models.Transformer(str(plain), max_seq_length=128)
    pooling = models.Pooling(32, pooling_mode="mean")
    SentenceTransformer(modules=[encoder, pooling], device="cpu").save(str(folder))


def save_reranker(folder: Path, texts: list[str]) -> None:
    """Save a random cross-encoder with a single score."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = _tokenizer(texts)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(texts: list[str]) -> Any:
    return byte_tokenizer(texts, SPECIAL, TEMPLATE, size=1500)
