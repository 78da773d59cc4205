"""The dense arm: nearest vectors by cosine, through an HNSW graph or by exact search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medqa_tui.retrieval.manifest import GRAPH_FILES, GraphParameters, Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

M = 32
EF_CONSTRUCTION = 200
EF = 400
"""Candidates kept while a graph is searched: recall@10 was .995 at 400 and .975 at 100 over 30,000
vectors of MedQuAD, in 0.6 and 0.2 ms; more are kept where more are asked for."""

_SEED = 100
_BLOCK = 65_536
# Vectors asked for a passage wanted: several views of one passage crowd the top.
_FANOUT = 4
# A graph asked for more than this part of its vectors is slower than looking at all of them, and
# may miss some that no path leads to.
_GRAPH_SHARE = 0.1


class Graph(Protocol):
    """An approximate search over the rows of an index."""

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.intp]:
        """Return the `k` nearest rows of a unit vector, roughly in order.

        Raises:
            RuntimeError: It cannot be searched.
        """
        ...


class HnswGraph:
    """HNSW over float32 vectors, by hnswlib."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.intp]:
        # `ef` is not saved with a graph, and must reach k.
        self._index.set_ef(max(2 * k, EF))
        labels: NDArray[np.intp] = self._index.knn_query(query, k=k, num_threads=1)[0][0]
        return labels


class CompactGraph:
    """HNSW over int8 vectors, by usearch: a quarter of the memory."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.intp]:
        self._index.expansion_search = max(2 * k, EF)
        found: NDArray[np.intp] = self._index.search(rounded(query[None])[0], k).keys.astype(int)
        return found


def rounded(vectors: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return vectors as int8, each scaled to its largest number; the cosine is kept within .002."""
    import numpy as np

    whole = np.asarray(vectors, dtype=np.float32)
    scale = 127.0 / np.maximum(np.abs(whole).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    small: NDArray[np.int8] = np.rint(whole * scale).astype(np.int8)
    return small


def build_graph(
    vectors: NDArray[np.floating], folder: Path, storage: Storage
) -> tuple[GraphParameters | None, str]:
    """Build an HNSW graph (Malkov and Yashunin, 2018) over unit vectors and save it in `folder`.

    Returns:
        Its parameters, or None and why there is none; then every vector is looked at.
    """
    path = folder / GRAPH_FILES[storage]
    try:
        if storage == "int8":
            _build_compact(vectors, path)
            return GraphParameters(M, EF_CONSTRUCTION), ""
        _build_hnsw(vectors, path)
        return GraphParameters(M, EF_CONSTRUCTION), ""
    except (RuntimeError, ImportError) as error:
        path.unlink(missing_ok=True)
        return None, str(error)


def _build_hnsw(vectors: NDArray[np.floating], path: Path) -> None:
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


def _build_compact(vectors: NDArray[np.floating], path: Path) -> None:
    import numpy as np
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="i8",
        connectivity=M,
        expansion_add=EF_CONSTRUCTION,
    )
    for start in range(0, len(vectors), _BLOCK):
        block = rounded(vectors[start : start + _BLOCK])
        index.add(np.arange(start, start + len(block)), block)
    index.save(str(path))


def load_graph(folder: Path, storage: Storage, count: int, dimension: int) -> Graph:
    """Load a graph whose hash was checked; the libraries trust every byte of it.

    Raises:
        RuntimeError: It cannot be read, or it is not over `count` vectors.
        ImportError: Its library is not installed.
    """
    path = folder / GRAPH_FILES[storage]
    if storage == "int8":
        from usearch.index import Index

        compact = Index.restore(str(path), view=True)
        if compact is None or (len(compact), compact.ndim) != (count, dimension):
            raise RuntimeError(f"{path.name} is not over {count} vectors")
        return CompactGraph(compact)
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=dimension)
    index.load_index(str(path))
    if index.get_current_count() != count:
        raise RuntimeError(f"it holds {index.get_current_count()} vectors instead of {count}")
    return HnswGraph(index)


def exact_search(
    vectors: NDArray[np.floating],
    query: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> list[tuple[int, float]]:
    """Return the `k` nearest (row, cosine) of `query`, best first, looking at every vector.

    Args:
        vectors: Unit vectors, (n, d); may be memory-mapped.
        query: A unit vector, float32 (d,).
        allowed: Which rows may be returned, bool (n,).
    """
    import numpy as np

    rows = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = vectors[part] if allowed is None else vectors[rows[part]]
        scores[part] = np.asarray(block, dtype=np.float32) @ query
    k = min(k, len(rows))
    if k == 0:
        return []
    top = np.argpartition(-scores, k - 1)[:k]
    top = top[np.lexsort((rows[top], -scores[top]))]
    return [(int(rows[i]), float(scores[i])) for i in top]


class DenseIndex:
    """Unit vectors with the passage each belongs to; a passage scores as its nearest vector.

    Args:
        vectors: (n, d), float32 or float16, may be memory-mapped.
        owners: Position of the passage of each vector, int32 (n,), ascending.
        graph: A search over the same rows, or None for exact search.
        crowding: Of each passage, float32 (passages,); zero if not given.
    """

    def __init__(
        self,
        vectors: NDArray[np.floating],
        owners: NDArray[np.int32],
        graph: Graph | None,
        crowding: NDArray[np.float32] | None = None,
    ) -> None:
        self._vectors = vectors
        self._owners = owners
        self._graph = graph
        self._crowding = crowding
        self._failure: str | None = None

    @property
    def exact(self) -> bool:
        """Whether every vector is looked at."""
        return self._graph is None

    @property
    def failure(self) -> str | None:
        """Why the graph was given up while searching, if it was."""
        return self._failure

    def search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[tuple[int, float]]:
        """Return the `k` nearest (position, cosine), each passage once, best first.

        Args:
            query: A unit vector, float32 (d,).
            allowed: Which passages may be returned, bool (passages,). Where they are many, the
                graph is asked for as many more; where they are few, each is looked at.
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
        share = 1.0 if rows is None else float(rows.mean())
        if self._graph is not None and k <= share * _GRAPH_SHARE * len(self._vectors):
            try:
                found = self._graph.nearest(query, int(k / share))
            except RuntimeError as error:
                self._graph = None
                self._failure = str(error)
            else:
                found = found if rows is None else found[rows[found]]
                # Those allowed may lie far from the question, and few of them among its nearest.
                if len(found) >= k:
                    return self._ordered(query, found)[:k]
        return exact_search(self._vectors, query, k, rows)

    def _ordered(
        self, query: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> list[tuple[int, float]]:
        """Return (row, cosine) of the graph's finds, best first, by the vectors themselves."""
        import numpy as np

        cosines = np.asarray(self._vectors[rows], dtype=np.float32) @ query
        order = np.lexsort((rows, -cosines))
        return [(int(rows[i]), float(cosines[i])) for i in order]

    def cosines(self, query: NDArray[np.float32], positions: Sequence[int]) -> list[float]:
        """Return the cosine of `query` with each passage's nearest vector."""
        import numpy as np

        starts = np.searchsorted(self._owners, positions, side="left")
        ends = np.searchsorted(self._owners, positions, side="right")
        return [
            float((np.asarray(self._vectors[start:end], dtype=np.float32) @ query).max())
            for start, end in zip(starts, ends, strict=True)
        ]

    def crowding(self, position: int) -> float:
        """Return how crowded the place of a passage is: its mean cosine with its neighbours."""
        return 0.0 if self._crowding is None else float(self._crowding[position])
