"""One order out of two: weighted scores, or reciprocal ranks.

Reciprocal rank fusion throws away how much better one passage is than the next, and lost to its
better arm on every large corpus that was tried. The weights below were chosen on 1,000 MedQuAD
questions of the development side and on Medication QA; `scripts/bench/retrieval.py` repeats the
choice, part by part. All-MiniLM-L6-v2 and bm25s gave the figures, but a cosine is a cosine and BM25
is not scaled to a corpus: neither number is divided by the best of the query, which would make the
words of a question about nothing weigh as much as those of a clear one.
"""

from __future__ import annotations

from collections.abc import Sequence

RRF_K = 60

BM25_WEIGHT = 0.0075
PAIRS_WEIGHT = 0.004
CROWDING_WEIGHT = 0.2


def fused_score(cosine: float, bm25: float, pairs: float = 0.0, crowding: float = 0.0) -> float:
    """Return one score for what both arms say of a passage.

    Args:
        cosine: Of the question with the passage's nearest vector.
        pairs: Score of the words that stand side by side in both.
        crowding: Mean cosine of the passage with its neighbours: what is near everything is near
            this question for no reason of its own.
    """
    return cosine + BM25_WEIGHT * bm25 + PAIRS_WEIGHT * pairs - CROWDING_WEIGHT * crowding


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
