"""What each arm says of the passages that either of them brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medqa_tui.domain import Scores
from medqa_tui.retrieval.fusion import reciprocal_rank_fusion


@dataclass(slots=True)
class Candidates:
    """Positions in the index with what each arm says of them."""

    order: list[int]
    bm25: dict[int, float] = field(default_factory=dict)
    bm25_rank: dict[int, int] = field(default_factory=dict)
    dense: dict[int, float] = field(default_factory=dict)
    dense_rank: dict[int, int] = field(default_factory=dict)
    rrf: dict[int, float] = field(default_factory=dict)
    fused: dict[int, float] = field(default_factory=dict)
    rerank: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of_words(cls, hits: Sequence[tuple[int, float]]) -> Candidates:
        """Return the hits of the lexical arm: (position, score), best first."""
        return cls(
            order=[position for position, _ in hits],
            bm25=dict(hits),
            bm25_rank={position: rank for rank, (position, _) in enumerate(hits, 1)},
        )

    def joined(self, nearest: Sequence[tuple[int, float]]) -> Candidates:
        """Return these hits of the lexical arm and those of the dense one, by reciprocal ranks.

        Where the lexical arm brought none they are in the order of the dense arm.
        """
        order = [position for position, _ in nearest]
        fused = reciprocal_rank_fusion([self.order, order])
        return Candidates(
            order=[position for position, _ in fused],
            bm25=self.bm25,
            bm25_rank=self.bm25_rank,
            dense=dict(nearest),
            dense_rank={position: rank for rank, position in enumerate(order, 1)},
            rrf=dict(fused) if self.order else {},
        )

    def scores(self, position: int) -> Scores:
        return Scores(
            dense=self.dense.get(position),
            bm25=self.bm25.get(position),
            rrf=self.rrf.get(position),
            rerank=self.rerank.get(position),
            dense_rank=self.dense_rank.get(position),
            bm25_rank=self.bm25_rank.get(position),
            fused=self.fused.get(position),
        )
