"""How crowded the place of each passage is: a passage near everything is near many questions.

In many dimensions some vectors, the hubs, are among the nearest of far more queries than others
(Radovanovic, Nanopoulos and Ivanovic, "Hubs in space", JMLR 2010). Taking part of the mean cosine
with the nearest neighbours off a score undoes that, as CSLS does for word vectors (Conneau and
others, "Word translation without parallel data", ICLR 2018).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEIGHBOURS = 10
SAMPLE = 4096
"""Neighbours are looked for among so many passages, which keeps the cost linear."""

_BLOCK = 2048


def crowding_of(
    vectors: NDArray[np.floating], rows: NDArray[np.intp], ids: Sequence[str]
) -> NDArray[np.float32]:
    """Return `crowding`, or zeros for a corpus of fewer than `SAMPLE` passages.

    The neighbours of a passage in a small corpus are what else there is on its topic, which says
    nothing about hubs: on the starter cards it moved right cards down.
    """
    import numpy as np

    if len(ids) < SAMPLE:
        return np.zeros(len(ids), dtype=np.float32)
    return crowding(vectors, rows, ids)


def crowding(
    vectors: NDArray[np.floating], rows: NDArray[np.intp], ids: Sequence[str]
) -> NDArray[np.float32]:
    """Return the mean cosine of each passage with its nearest neighbours of other documents.

    Args:
        vectors: Unit vectors, (n, d); may be memory-mapped.
        rows: Which of them stands for each passage.
        ids: Id of each passage; the sample is drawn by them, so that the figures of a corpus
            hardly move when a little is added to it.

    Returns:
        float32, one a passage; 0 where there is no other document.
    """
    import numpy as np

    documents = np.unique([name.rsplit("#", 1)[0] for name in ids], return_inverse=True)[1]
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())
    drawn = np.asarray(sorted(order[:SAMPLE]), dtype=np.intp)
    sample, owners = vectors[rows[drawn]].astype(np.float32), documents[drawn]
    wanted = min(NEIGHBOURS, len(drawn))
    found = np.zeros(len(ids), dtype=np.float32)
    for start in range(0, len(ids), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = vectors[rows[block]].astype(np.float32) @ sample.T
        cosines[documents[block, None] == owners[None, :]] = -np.inf
        nearest = np.partition(cosines, len(drawn) - wanted, axis=1)[:, len(drawn) - wanted :]
        there = np.isfinite(nearest)
        total = np.where(there, nearest, 0.0).sum(axis=1)
        found[block] = total / np.maximum(there.sum(axis=1), 1)
    return found
