"""An embedder without a model: texts that share words get near vectors."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from medqa_tui.retrieval.embedder import EmbedderIdentity


class HashingEmbedder:
    """The normalised sum of one random unit vector a word."""

    def __init__(self, dimension: int = 48, seed: str = "", name: str = "hashing") -> None:
        self.dimension = dimension
        self.seed = seed
        self.encoded: list[str] = []
        canary = self.encode_query("the canary")
        self.identity = EmbedderIdentity(
            name, "1", "sum", "", dimension, True, tuple(round(float(x), 4) for x in canary)
        )

    def _word(self, word: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}{word}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        return rng.standard_normal(self.dimension)

    def encode_query(self, query: str) -> np.ndarray:
        words = re.findall(r"\w+", query.lower()) or [""]
        total = np.sum([self._word(word) for word in words], axis=0)
        return (total / np.linalg.norm(total)).astype(np.float32)

    def encode(self, texts: list[str], on_progress=None) -> np.ndarray:
        self.encoded.extend(texts)
        return np.stack([self.encode_query(text) for text in texts])

    def knows(self, word: str) -> bool:
        return True
