"""A tiny T5 of Flan-T5's shape: gated GELU, output layer not tied, inputs that end with </s>."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .tiny_parts import TEXTS, learn_pairs


def build(
    folder: Path, answers: Mapping[str, str] | None = None, texts: Sequence[str] = ()
) -> Path:
    """Write a tiny encoder-decoder; random, but for `answers`, which it learns by heart.

    Args:
        answers: What it says to an input text, both whole.
        texts: What else its tokenizer has words for.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    answers = answers or {}
    tokenizer = _tokenizer([*TEXTS, *texts, *answers, *answers.values()])
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(config)
    if answers:
        rows = [(tokenizer(a)["input_ids"], tokenizer(b)["input_ids"]) for a, b in answers.items()]
        learn_pairs(model, rows)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]):
    """Return a unigram tokenizer as T5's: every word of `texts` is a piece, and every letter."""
    from transformers import T5Tokenizer

    words = sorted({word for text in texts for word in re.findall(r"\w+", text)})
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"\u2581{word}", -2.0) for word in words]
    pieces += [(letter, -10.0) for letter in ("\u2581", *letters)]
    return T5Tokenizer(vocab=pieces, extra_ids=0)
