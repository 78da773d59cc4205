"""How sure the program is of an answer, from its sentences' support and its evidence's scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medqa_tui.domain import Confidence, ConfidenceLabel, Evidence, Sentence, Support

_HIGH = 0.75
_MEDIUM = 0.45
# Cosines of MiniLM between a question and a passage that answers it lie about here.
_COSINE_FLOOR = 0.30
_COSINE_TOP = 0.75
# Without a dense or re-ranking score nothing comparable between queries is known.
_NEUTRAL = 0.5
# Nothing that no data was fitted to is as good as certain.
_CEILING = 0.95
# A sentence may cite a passage whose cosine lies so far below the best one's without loss ...
_GAP_FREE = 0.10
# ... and loses this share of its support for each further 0.1, down to half.
_GAP_LOSS = 0.15
_GAP_FLOOR = 0.5
_DEFAULT_SUPPORT = {
    Support.SUPPORTED: 1.0,
    Support.PARTIAL: 0.5,
    Support.UNSUPPORTED: 0.0,
    Support.NOT_CHECKED: 0.3,
}


def estimate(sentences: Sequence[Sentence], evidence: Sequence[Evidence]) -> Confidence:
    """Return the confidence in an answer, uncalibrated.

    Pass the sentences that were left out as well: a draft that lost some of its sentences is
    trusted less. The score is mean support, weighed by how well the best cited passage matches the
    question and by whether more than one passage, or both search arms, agree. A sentence that
    stands only in a passage far less close to the question than the best one counts for less, and
    no score is above 0.95. An answer that was
    not checked, or that has no evidence, is never more than low.
    """
    if not sentences:
        return Confidence(0.0, ConfidenceLabel.LOW)
    support = sum(
        _support_of(sentence) * _nearness(sentence, evidence) for sentence in sentences
    ) / len(sentences)
    cited = {n for sentence in sentences for n in sentence.citations}
    used = [item for item in evidence if item.n in cited]
    if not used:
        return _labelled(min(support, _MEDIUM - 0.05))
    match = max(_match(item) for item in used)
    agree = 1.0 if len(used) > 1 or any(_both_arms(item) for item in used) else 0.0
    return _labelled(support * (0.4 + 0.5 * match + 0.1 * agree))


def _support_of(sentence: Sentence) -> float:
    default = _DEFAULT_SUPPORT[sentence.support]
    return default if sentence.score is None else min(default, max(0.0, sentence.score))


def _nearness(sentence: Sentence, evidence: Sequence[Evidence]) -> float:
    """Return how near the best passage that `sentence` cites is to the best of all, in [0.5, 1]."""
    scored = {item.n: item.scores.dense for item in evidence if item.scores.dense is not None}
    own = [scored[n] for n in sentence.citations if n in scored]
    if not own:
        return 1.0
    gap = max(scored.values()) - max(own) - _GAP_FREE
    return max(_GAP_FLOOR, 1.0 - _GAP_LOSS * max(0.0, gap) / 0.1)


def _match(item: Evidence) -> float:
    """Return how well a passage matches the question, in [0, 1]."""
    scores = item.scores
    if scores.dense is not None:
        match = (scores.dense - _COSINE_FLOOR) / (_COSINE_TOP - _COSINE_FLOOR)
    elif scores.rerank is not None:
        # Only where there is no cosine: a re-ranker learns to order passages, and its scores of
        # two questions need not be on one scale.
        match = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, scores.rerank))))
    else:
        return _NEUTRAL
    return min(1.0, max(0.0, match))


def _both_arms(item: Evidence) -> bool:
    return item.scores.dense_rank is not None and item.scores.bm25_rank is not None


def _labelled(score: float) -> Confidence:
    score = round(min(_CEILING, max(0.0, score)), 3)
    if score >= _HIGH:
        return Confidence(score, ConfidenceLabel.HIGH)
    if score >= _MEDIUM:
        return Confidence(score, ConfidenceLabel.MEDIUM)
    return Confidence(score, ConfidenceLabel.LOW)
