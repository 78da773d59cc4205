"""The dense arm's text encoder: a sentence-transformers folder, and who it is."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from medqa_tui.corpus.record import Progress
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import sha256_file
from medqa_tui.models.loading import one_at_a_time
from medqa_tui.models.records import InstallRecord

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

CANARY_TEXT = "Type 2 diabetes makes people thirsty, tired and hungry."
CANARY_COSINE = 0.999
"""Runs of one model in bf16 and in fp32 agree to .9999."""

_CANARY_DECIMALS = 4
_BATCH_CPU = 32
_BATCH_GPU = 128
_PROGRESS_STEP = 256
# How vocabularies mark the beginning of a word: WordPiece, SentencePiece, byte-level BPE.
_WORD_MARKS = ("", "\u2581", "\u0120")


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What must agree before the vectors of an index and of a query may be compared.

    Attributes:
        revision: The install record's revision, or a hash of the weights.
        prefix: Text put before queries and before passages, as "query|passage"; empty if none.
        canary: The embedding of `CANARY_TEXT`, rounded.
    """

    id: str
    revision: str
    pooling: str
    prefix: str
    dimension: int
    normalised: bool
    canary: tuple[float, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return what was written as JSON.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(**{**row, "canary": tuple(float(value) for value in row["canary"])})

    def differences(self, other: EmbedderIdentity) -> list[str]:
        """Return why vectors of `self` (an index's) and `other` (at hand) cannot be mixed."""
        found = []
        for field in ("id", "revision", "pooling", "prefix", "dimension", "normalised"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                found.append(f"the embedding model's {field} was {mine!r} and is now {theirs!r}")
        if self.dimension == other.dimension:
            cosine = _cosine(self.canary, other.canary)
            if not cosine >= CANARY_COSINE:
                found.append(
                    "the embedding model gives other vectors than when the index was made"
                    f" (cosine {cosine:.3f} on the test sentence)"
                )
        return found


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    if len(a) != len(b):
        return 0.0
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


class TextEmbedder(Protocol):
    """What the index and the retriever ask of an embedder."""

    @property
    def identity(self) -> EmbedderIdentity: ...

    def encode(
        self, texts: list[str], on_progress: Progress | None = None
    ) -> NDArray[np.float32]: ...

    def encode_query(self, query: str) -> NDArray[np.float32]: ...

    def knows(self, word: str) -> bool: ...


class Embedder:
    """A sentence-transformers model from a local folder; vectors are unit length, float32."""

    def __init__(self, model: Any, identity: tuple[str, str], device: str, dtype: str) -> None:
        self._model = model
        self.device = device
        self.dtype = dtype
        prompts: dict[str, str] = getattr(model, "prompts", None) or {}
        self._query_prefix = prompts.get("query", "")
        self._passage_prefix = prompts.get("document", "") or prompts.get("passage", "")
        # Fast tokenizers refuse a second thread while a first one sets their padding.
        self._lock = threading.Lock()
        self.identity = self._identify(*identity)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", threads: int = 0) -> Embedder:
        """Load the model in `folder`; nothing is fetched.

        Runs in bfloat16 where the CPU or GPU computes in it, else in float32.

        Args:
            device: "cpu", "cuda" or "cuda:N".
            threads: CPU threads of this process; 0 leaves them as they are.

        Raises:
            MedQAError: The folder holds no such model.
        """
        if not (folder / "modules.json").is_file():
            raise _unusable(folder, "there is no modules.json")
        import torch
        from sentence_transformers import SentenceTransformer

        quiet_transformers()
        if threads > 0:
            torch.set_num_threads(threads)
        dtype = best_dtype(device)
        try:
            with one_at_a_time:
                model = SentenceTransformer(
                    str(folder),
                    device=device,
                    local_files_only=True,
                    model_kwargs={"dtype": dtype, "use_safetensors": True},
                )
            return cls(model, _name_and_revision(folder), device, str(dtype).split(".")[-1])
        except MedQAError:
            raise
        # Whatever a damaged or foreign folder makes these libraries raise, the user gets words.
        except Exception as error:
            raise _unusable(folder, str(error)) from error

    def encode(self, texts: list[str], on_progress: Progress | None = None) -> NDArray[np.float32]:
        """Embed passages.

        Returns:
            Unit vectors, float32 of shape (len(texts), dimension), in the order of `texts`.
        """
        return self._encode([self._passage_prefix + text for text in texts], on_progress)

    def encode_query(self, query: str) -> NDArray[np.float32]:
        """Embed one query: a unit vector, float32 of shape (dimension,)."""
        vector: NDArray[np.float32] = self._encode([self._query_prefix + query], None)[0]
        return vector

    def knows(self, word: str) -> bool:
        """Return whether the model's vocabulary holds `word` (in small letters) in one piece."""
        return any(mark + word in self._vocabulary for mark in _WORD_MARKS)

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self._model.tokenizer.get_vocab())

    def _encode(self, texts: list[str], on_progress: Progress | None) -> NDArray[np.float32]:
        import numpy as np

        dimension = self._model.get_embedding_dimension()
        vectors = np.empty((len(texts), dimension), dtype=np.float32)
        # Texts of like length share a batch, so that little of it is padding. Longest first:
        # memory peaks at once or never.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        batch = _BATCH_GPU if self.device.startswith("cuda") else _BATCH_CPU
        for start in range(0, len(order), _PROGRESS_STEP):
            rows = order[start : start + _PROGRESS_STEP]
            with self._lock:
                part = self._model.encode(
                    [texts[i] for i in rows],
                    batch_size=batch,
                    show_progress_bar=False,
                    convert_to_tensor=True,
                )
            vectors[rows] = part.float().cpu().numpy()
            if on_progress is not None:
                on_progress(start + len(rows), len(texts))
        # Again in float32: a norm taken in bfloat16 is off by up to half a percent.
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(norms, np.finfo(np.float32).tiny)
        return vectors

    def _identify(self, name: str, revision: str) -> EmbedderIdentity:
        canary = self._encode([self._passage_prefix + CANARY_TEXT], None)[0]
        prefixes = (self._query_prefix, self._passage_prefix)
        return EmbedderIdentity(
            id=name,
            revision=revision,
            pooling=_pooling(self._model),
            prefix="|".join(prefixes) if any(prefixes) else "",
            dimension=len(canary),
            normalised=True,
            canary=tuple(round(float(value), _CANARY_DECIMALS) for value in canary),
        )


def best_dtype(device: str) -> torch.dtype:
    """Return bfloat16 where `device` computes in it natively, else float32."""
    import torch

    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without these instructions bfloat16 is emulated, and slower than float32.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return torch.bfloat16 if native else torch.float32


def quiet_transformers() -> None:
    """Keep transformers' progress bars off the terminal: stderr belongs to the front end."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _pooling(model: Any) -> str:
    for module in model:
        mode = getattr(module, "pooling_mode", None)
        if mode is not None:
            return mode if isinstance(mode, str) else "+".join(sorted(mode))
    return "unknown"


def _name_and_revision(folder: Path) -> tuple[str, str]:
    record = InstallRecord.read(folder)
    if record is not None:
        return record.id, record.revision
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise _unusable(folder, "there is no .safetensors file")
    return folder.resolve().name, "sha256:" + "+".join(sha256_file(path) for path in weights)


def _unusable(folder: Path, why: str) -> MedQAError:
    return MedQAError(
        "The embedding model could not be loaded.",
        f"{folder}: {why}.",
        "Type: medqa-tui setup",
    )
