"""Reciprocal rank fusion of ranked lists."""

from __future__ import annotations

from collections.abc import Sequence

RRF_K = 60


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], weights: Sequence[float] | None = None, k: int = RRF_K
) -> list[tuple[int, float]]:
    """Fuse rankings by the sum of `weight / (k + rank)`, ranks counted from 1.

    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual
    rank learning methods" (SIGIR 2009); k = 60 is theirs.

    Args:
        rankings: Positions, best first, one list an arm.
        weights: One weight an arm; all 1 if not given.

    Returns:
        (position, score), best first; ties go to the lower position.
    """
    totals: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, position in enumerate(ranking, 1):
            totals[position] = totals.get(position, 0.0) + weight / (k + rank)
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))
