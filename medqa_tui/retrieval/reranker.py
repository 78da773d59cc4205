"""The cross-encoder that orders the best passages anew, where one is installed.

Either a whole model in a folder, or an adapter over the weights of the embedding model.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import MedQAError
from medqa_tui.models.loading import one_at_a_time
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.shipped import CARD_NAME, adapter_problems
from medqa_tui.retrieval.blending import Blend

if TYPE_CHECKING:
    import torch

DEPTH_CPU = 16
DEPTH_GPU = 50
"""Passages scored a question: a CPU manages some 50 pairs a second, a GPU thousands."""

ADAPTER_CONFIG = "adapter_config.json"
HEAD = "classifier"
_MAX_TOKENS = 512
_BATCH = 16
# Words beyond any limit in tokens are not worth tokenizing.
_WORDS = 400


@dataclass(frozen=True, slots=True)
class Reading:
    """How a cross-encoder is used.

    Attributes:
        max_tokens: Tokens of question and passage together; the passage is cut to fit.
        blend: How its scores and the search's own make one order; None for a model that is used
            alone.
    """

    max_tokens: int = _MAX_TOKENS
    blend: Blend | None = None


class Reranker:
    """A cross-encoder from local folders; its scores are logits."""

    def __init__(self, model: Any, tokenizer: Any, reading: Reading, device: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.reading = reading
        self.device = device
        # Fast tokenizers refuse a second thread while a first one sets their padding.
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", base_folder: Path | None = None) -> Reranker:
        """Load the cross-encoder in `folder`, in bfloat16 where the device computes in it.

        Args:
            folder: A model with a single score, or an adapter in PEFT format with its card.
            base_folder: The encoder that an adapter fits, such as the embedding model.

        Raises:
            MedQAError: There is no such model, or the adapter was made for another base.
        """
        from medqa_tui.retrieval.embedder import best_dtype, quiet_transformers

        adapter = (folder / ADAPTER_CONFIG).is_file()
        weights = _base_of(folder, base_folder) if adapter else folder
        if not (weights / "config.json").is_file():
            raise _unusable(folder, f"there is no config.json in {weights}")
        quiet_transformers()
        try:
            with one_at_a_time:
                model, tokenizer = _loaded(weights, folder if adapter else None)
                model = _quick(model, best_dtype(device)).to(device).eval()
            most = min(_MAX_TOKENS, model.config.max_position_embeddings)
            reading = _reading(folder) if adapter else Reading()
        except MedQAError:
            raise
        # Whatever a damaged or foreign folder makes these libraries raise, the user gets words.
        except Exception as error:
            raise _unusable(folder, str(error)) from error
        reading = Reading(min(reading.max_tokens, most), reading.blend)
        return cls(model, tokenizer, reading, device)

    @property
    def depth(self) -> int:
        """How many passages are worth scoring on this device."""
        return DEPTH_GPU if self.device.startswith("cuda") else DEPTH_CPU

    @property
    def blend(self) -> Blend | None:
        """How this model's scores and the search's make one order; None: by its scores alone."""
        return self.reading.blend

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score a text, higher is better, in the order of `texts`."""
        return self.score_pairs([(query, text) for text in texts])

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return one score a (query, text), in the order given."""
        import torch

        scores = [0.0] * len(pairs)
        # Pairs of like length share a batch, so that little of it is padding.
        order = sorted(range(len(pairs)), key=lambda n: -len(pairs[n][1]))
        with self._lock, torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                queries, texts = zip(*(pairs[n] for n in rows), strict=True)
                batch = encode_pairs(
                    self._tokenizer, list(queries), list(texts), self.reading.max_tokens
                )
                logits = self._model(**batch.to(self.device)).logits.float()[:, 0].tolist()
                for n, logit in zip(rows, logits, strict=True):
                    scores[n] = logit
        return scores


def encode_pairs(tokenizer: Any, queries: list[str], texts: list[str], max_tokens: int) -> Any:
    """Return the padded token ids of pairs; a passage is cut to fit, and a question only if it
    alone is too long for three quarters of the room.
    """
    room = 3 * max_tokens // 4
    queries = [_shortened(tokenizer, query, room) for query in queries]
    return tokenizer(
        queries,
        [" ".join(text.split()[:_WORDS]) for text in texts],
        truncation="only_second",
        max_length=max_tokens,
        padding=True,
        return_tensors="pt",
    )


def _shortened(tokenizer: Any, query: str, room: int) -> str:
    if len(query) <= room:  # no token is shorter than a character
        return query
    ids = tokenizer(query, add_special_tokens=False)["input_ids"]
    return query if len(ids) <= room else str(tokenizer.decode(ids[:room]))


def _loaded(weights: Path, adapter: Path | None) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True)
    own = {} if adapter is None else {"num_labels": 1}
    model, told = AutoModelForSequenceClassification.from_pretrained(
        weights, local_files_only=True, use_safetensors=True, output_loading_info=True, **own
    )
    if model.config.num_labels != 1:
        count = model.config.num_labels
        raise _unusable(weights, f"it gives {count} scores a pair instead of one")
    missing = [key for key in told["missing_keys"] if adapter is None or not key.startswith(HEAD)]
    if missing:
        # They would be drawn at random, and so would the order of the passages.
        raise _unusable(weights, f"it has no {', '.join(sorted(missing)[:3])}")
    if adapter is None:
        return model, tokenizer
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(), tokenizer


def _quick(model: Any, dtype: torch.dtype) -> Any:
    """Return the model with its body in `dtype`, and its head in float32.

    A bfloat16 score has two digits, and many passages would stand level.
    """
    import torch

    head = getattr(model, HEAD, None)
    if head is None:
        return model.to(torch.float32)
    model.to(dtype)
    head.to(torch.float32)
    head.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(), *inputs[1:]))
    return model


def _base_of(folder: Path, base_folder: Path | None) -> Path:
    """Return the folder of an adapter's base.

    Raises:
        MedQAError: There is none, or the adapter was made for another one.
    """
    if base_folder is None:
        raise _unusable(folder, "it is an adapter, and no base model was given")
    record = InstallRecord.read(base_folder)
    if record is not None:
        problems = adapter_problems(folder, record.id, revision=record.revision, deep=True)
        if problems:
            raise _unusable(folder, problems[0].rstrip("."))
    return base_folder


def _reading(folder: Path) -> Reading:
    card = json.loads((folder / CARD_NAME).read_bytes())
    blend = {key: float(value) for key, value in card.get("blend", {}).items()}
    return Reading(int(card["max_tokens"]), Blend(**blend))


def _unusable(folder: Path, why: str) -> MedQAError:
    return MedQAError(
        "The re-ranking model could not be loaded.",
        f"{folder}: {why}.",
        "Type: medqa-tui setup",
    )
