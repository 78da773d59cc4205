"""Embeddings kept on disk by the text they are of, so that a second run embeds nothing again."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.corpus.record import Progress
from medqa_tui.paths import ensure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medqa_tui.retrieval.embedder import Embedder

_BLOCK = 512
_PART = ".part.npz"
# Of a run that was killed; one that lives writes a block in less.
_STALE = 24 * 3600.0


class VectorCache:
    """Unit vectors of one embedder in `folder`; blocks of texts are written as they are made."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        identity = embedder.identity
        key = hashlib.sha256(f"{identity.id}|{identity.revision}".encode()).hexdigest()[:16]
        self._folder = ensure(folder / key)
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}
        self._read()

    def encode(self, texts: list[str], on_progress: Progress | None = None) -> NDArray[np.float32]:
        """Return unit vectors, float32 of shape (len(texts), dimension)."""
        import numpy as np

        keys = [_key(text) for text in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
        # Texts of like length share a batch.
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        for at in range(0, len(todo), _BLOCK):
            block = todo[at : at + _BLOCK]
            self.put([k for k, _ in block], self._embedder.encode([t for _, t in block]))
            if on_progress is not None:
                on_progress(min(at + _BLOCK, len(todo)), len(todo))
        if not keys:
            return np.empty((0, self._embedder.identity.dimension), dtype=np.float32)
        return np.stack([self._known[key] for key in keys])

    def put(self, keys: list[str], vectors: NDArray[np.float32]) -> None:
        """Keep vectors under their keys, in a file that appears whole or not at all."""
        import numpy as np

        name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:24]
        # Its own: another run may be writing the same block.
        half = self._folder / f"{name}.{uuid.uuid4().hex}{_PART}"
        np.savez(half, keys=np.array(keys), vectors=vectors.astype(np.float16))
        half.replace(self._folder / f"{name}.npz")
        self._take(keys, vectors)

    def _take(self, keys: list[str], vectors: NDArray[np.float32]) -> None:
        self._known.update(zip(keys, vectors, strict=True))

    def _read(self) -> None:
        import numpy as np

        for file in self._folder.glob("*.npz"):
            if file.name.endswith(_PART):
                with suppress(OSError):
                    if time.time() - file.stat().st_mtime > _STALE:
                        file.unlink()
                continue
            try:
                with np.load(file, allow_pickle=False) as kept:
                    keys, vectors = kept["keys"].tolist(), kept["vectors"].astype(np.float32)
                if vectors.shape != (len(keys), self._embedder.identity.dimension):
                    raise ValueError("of another shape")
                self._take(keys, vectors)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                # A damaged block is only embedded again.
                with suppress(OSError):
                    file.unlink()


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
