"""Tiny random BERT encoders, built on the spot."""

from __future__ import annotations

from pathlib import Path

VOCABULARY = (
    "what are is the symptoms of type 2 diabetes makes people thirsty tired and hungry asthma a "
    "stroke heart attack fever cough skin blood pressure how treated who won world cup . , ? "
    "query passage :"
)
WORDS = VOCABULARY.split()
DIMENSION = 32


def tokenizer_in(folder: Path):
    from transformers import BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary), encoding="utf-8")
    return BertTokenizerFast(vocab=str(path), model_max_length=64), len(vocabulary)


def config(vocabulary: int, **more):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        **more,
    )


def build_sentence_transformer(folder: Path, seed: int = 0, prompts=None) -> Path:
    """Write a sentence-transformers folder with mean pooling; vectors are not normalised by it."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertModel

    torch.manual_seed(seed)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    tokenizer, size = tokenizer_in(raw)
    BertModel(config(size)).save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    body = models.Transformer(str(raw), max_seq_length=64)
    pooling = models.Pooling(body.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[body, pooling], device="cpu", prompts=prompts)
    model.save(str(folder / "model"))
    return folder / "model"


def build_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """Write a cross-encoder folder with random weights."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokenizer, size = tokenizer_in(folder)
    model = BertForSequenceClassification(config(size, num_labels=labels))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
