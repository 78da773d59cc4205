"""Whether words that stand side by side in a question do so in a passage.

Pairs of neighbouring words are the ordered feature of the sequential dependence model (Metzler and
Croft, "A Markov random field model for term dependencies", SIGIR 2005). They are looked for in the
few passages that either arm brings, so no index of pairs is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from medqa_tui.retrieval import lexical

SATURATION = 0.5
"""As k1 of BM25: a pair that stands twice says little more than one that stands once."""


def pair_scores(query: str, texts: Iterable[str], idf: Callable[[str], float]) -> list[float]:
    """Return one score a text: the saturated counts of the query's pairs, weighted by mean idf.

    Args:
        idf: Inverse document frequency of a stem; 0 for one that no passage has.
    """
    stems = lexical.tokenize(query)
    weights: dict[tuple[str, str], float] = {}
    for pair in pairwise(stems):
        weights[pair] = weights.get(pair, 0.0) + (idf(pair[0]) + idf(pair[1])) / 2
    if not weights:
        return [0.0 for _ in texts]
    return [_score(text, weights) for text in texts]


def _score(text: str, weights: dict[tuple[str, str], float]) -> float:
    counts = dict.fromkeys(weights, 0)
    for pair in pairwise(lexical.tokenize(text)):
        if pair in counts:
            counts[pair] += 1
    return sum(
        weights[pair] * count * (1 + SATURATION) / (count + SATURATION)
        for pair, count in counts.items()
        if count
    )
