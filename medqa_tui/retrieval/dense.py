"""The dense arm: nearest vectors by cosine, through hnswlib or by exact search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

M = 32
EF_CONSTRUCTION = 200
MIN_EF = 64
_SEED = 100
_BLOCK = 65_536
# Vectors asked for a passage wanted: several views of one passage crowd the top.
_FANOUT = 4


def build_hnsw(vectors: NDArray[np.float32], path: Path) -> None:
    """Build an HNSW graph (Malkov and Yashunin, 2018) over unit vectors and save it to `path`."""
    import hnswlib
    import numpy as np

    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    index.init_index(
        max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=_SEED
    )
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        index.add_items(block, np.arange(start, start + len(block)))
    index.save_index(str(path))


def load_hnsw(path: Path, count: int, dimension: int) -> Any:
    """Load a graph whose hash was checked; hnswlib trusts every byte of it.

    Raises:
        RuntimeError: hnswlib cannot read it, or it is not over `count` vectors.
    """
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=dimension)
    index.load_index(str(path))
    if index.get_current_count() != count:
        raise RuntimeError(f"it holds {index.get_current_count()} vectors instead of {count}")
    return index


def exact_search(
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> list[tuple[int, float]]:
    """Return the `k` nearest (row, cosine) of `query`, best first, looking at every vector.

    Args:
        vectors: Unit vectors, float32 (n, d); may be memory-mapped.
        query: A unit vector, float32 (d,).
        allowed: Which rows may be returned, bool (n,).
    """
    import numpy as np

    scores = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        scores[start : start + _BLOCK] = vectors[start : start + _BLOCK] @ query
    if allowed is not None:
        rows = np.flatnonzero(allowed)
        scores = scores[rows]
    else:
        rows = np.arange(len(vectors))
    k = min(k, len(rows))
    if k == 0:
        return []
    top = np.argpartition(-scores, k - 1)[:k]
    top = top[np.lexsort((rows[top], -scores[top]))]
    return [(int(rows[i]), float(scores[i])) for i in top]


class DenseIndex:
    """Unit vectors with the passage each belongs to; a passage scores as its nearest vector.

    Args:
        vectors: float32 (n, d), may be memory-mapped.
        owners: Position of the passage of each vector, int32 (n,), ascending.
        hnsw: A loaded hnswlib graph over the same rows, or None for exact search.
    """

    def __init__(
        self, vectors: NDArray[np.float32], owners: NDArray[np.int32], hnsw: Any | None
    ) -> None:
        self._vectors = vectors
        self._owners = owners
        self._hnsw = hnsw
        self._hnsw_error: str | None = None

    @property
    def exact(self) -> bool:
        """Whether every vector is looked at."""
        return self._hnsw is None

    @property
    def failure(self) -> str | None:
        """Why hnswlib was given up while searching, if it was."""
        return self._hnsw_error

    def search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[tuple[int, float]]:
        """Return the `k` nearest (position, cosine), each passage once, best first.

        Args:
            query: A unit vector, float32 (d,).
            allowed: Which passages may be returned, bool (passages,). A graph cannot be
                filtered without losing neighbours, so a filtered search is exact.
        """
        total = len(self._vectors)
        rows = None if allowed is None else allowed[self._owners]
        wanted = min(total, k * _FANOUT)
        while True:
            nearest = self._nearest(query, wanted, rows)
            found: dict[int, float] = {}
            for row, score in nearest:
                found.setdefault(int(self._owners[row]), score)
            if len(found) >= k or wanted >= total or len(nearest) < wanted:
                return list(found.items())[:k]
            wanted = min(total, wanted * 4)

    def _nearest(
        self, query: NDArray[np.float32], k: int, rows: NDArray[np.bool_] | None
    ) -> list[tuple[int, float]]:
        if rows is None and self._hnsw is not None:
            try:
                # `ef` is not saved with a graph, and must reach k.
                self._hnsw.set_ef(max(2 * k, MIN_EF))
                labels, distances = self._hnsw.knn_query(query, k=k, num_threads=1)
                return [
                    (int(label), 1.0 - float(distance))
                    for label, distance in zip(labels[0], distances[0], strict=True)
                ]
            except RuntimeError as error:
                self._hnsw = None
                self._hnsw_error = str(error)
        return exact_search(self._vectors, query, k, rows)

    def cosines(self, query: NDArray[np.float32], positions: Sequence[int]) -> list[float]:
        """Return the cosine of `query` with each passage's nearest vector."""
        import numpy as np

        starts = np.searchsorted(self._owners, positions, side="left")
        ends = np.searchsorted(self._owners, positions, side="right")
        return [
            float((self._vectors[start:end] @ query).max())
            for start, end in zip(starts, ends, strict=True)
        ]
