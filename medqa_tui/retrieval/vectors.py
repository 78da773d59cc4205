"""Vectors of texts that were embedded before, found again by a hash of the text."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.models.files import sync_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_BYTES = 16
_KEYS = ".keys.npy"
_VECTORS = ".vectors.npy"


def text_key(text: str) -> bytes:
    """Return the key of an embedded text: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


def key_array(keys: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return keys as uint8 of shape (n, 16), for a file."""
    import numpy as np

    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


class KnownVectors:
    """Vectors by the key of their text, gathered from arrays that may be memory-mapped.

    Args:
        dimension: Numbers a vector; an array of another shape is not taken.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._arrays: list[NDArray[np.floating]] = []
        self._places: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __getitem__(self, key: bytes) -> NDArray[np.floating]:
        array, row = self._places[key]
        vector: NDArray[np.floating] = self._arrays[array][row]
        return vector

    def add(self, keys: NDArray[np.uint8], vectors: NDArray[np.floating]) -> bool:
        """Take the vectors in, n of them with n keys; return whether they have the right shape."""
        if keys.shape != (len(vectors), KEY_BYTES) or vectors.shape[1:] != (self._dimension,):
            return False
        at = len(self._arrays)
        self._arrays.append(vectors)
        for row, key in enumerate(_each(keys)):
            self._places[key] = (at, row)
        return True

    def add_shards(self, folder: Path) -> None:
        """Take in the whole shards of `folder`; one that a crash cut short is left out."""
        for path in sorted(folder.glob(f"*{_KEYS}")):
            self._add_shard(path)

    def save_shard(self, folder: Path, keys: list[bytes], vectors: NDArray[np.float32]) -> None:
        """Keep new vectors in `folder`, the keys last: with them the shard is whole."""
        name = secrets.token_hex(8)
        _save(folder / f"{name}{_VECTORS}", vectors)
        _save(folder / f"{name}{_KEYS}", key_array(keys))
        self._add_shard(folder / f"{name}{_KEYS}")

    def _add_shard(self, path: Path) -> None:
        import numpy as np

        pair = path.with_name(path.name.removesuffix(_KEYS) + _VECTORS)
        try:
            # Mapped, so that memory does not grow with what was embedded.
            vectors = np.load(pair, mmap_mode="r", allow_pickle=False)
            self.add(np.load(path, allow_pickle=False), vectors)
        except (OSError, ValueError, EOFError):
            path.unlink(missing_ok=True)


def _save(path: Path, array: NDArray[Any]) -> None:
    import numpy as np

    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def _each(keys: NDArray[np.uint8]) -> Iterator[bytes]:
    packed = keys.tobytes()
    for start in range(0, len(packed), KEY_BYTES):
        yield packed[start : start + KEY_BYTES]
