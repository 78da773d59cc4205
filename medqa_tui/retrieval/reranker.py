"""The cross-encoder that orders the best passages anew, where one is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medqa_tui.errors import MedQAError
from medqa_tui.models.loading import one_at_a_time

DEPTH_CPU = 16
DEPTH_GPU = 50
"""Passages scored a question: a CPU manages some 35 pairs a second, a GPU thousands."""

_BATCH = 16


class Reranker:
    """A sentence-transformers cross-encoder from a local folder."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self.device = device

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Reranker:
        """Load the cross-encoder in `folder`; nothing is fetched.

        Raises:
            MedQAError: The folder holds no cross-encoder with a single score.
        """
        from sentence_transformers import CrossEncoder

        from medqa_tui.retrieval.embedder import quiet_transformers

        if not (folder / "config.json").is_file():
            raise _unusable(folder, "there is no config.json")
        quiet_transformers()
        try:
            with one_at_a_time:
                model = CrossEncoder(str(folder), device=device, local_files_only=True)
        # Whatever a damaged or foreign folder makes these libraries raise, the user gets words.
        except Exception as error:
            raise _unusable(folder, str(error)) from error
        if model.num_labels != 1:
            raise _unusable(folder, f"it gives {model.num_labels} scores a pair instead of one")
        return cls(model, device)

    @property
    def depth(self) -> int:
        """How many passages are worth scoring on this device."""
        return DEPTH_GPU if self.device.startswith("cuda") else DEPTH_CPU

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score a text, higher is better, in the order of `texts`."""
        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        scores = self._model.predict(pairs, batch_size=_BATCH, show_progress_bar=False)
        return [float(score) for score in scores]


def _unusable(folder: Path, why: str) -> MedQAError:
    return MedQAError(
        "The re-ranking model could not be loaded.",
        f"{folder}: {why}.",
        "Type: medqa-tui setup",
    )
