"""Hard negatives: passages that hybrid search puts near a question, and that do not answer it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.corpus.record import Progress
from medqa_tui.training.sources import Example, folded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BM25_WEIGHT = 0.1
"""Of BM25 over its greatest value beside the cosine: the best of the drafts on the dev sample."""
POOL = 60
KEPT = 40
SAME_QUESTION = 0.95
SAME_ANSWER = 0.95
"""A candidate whose question or answer has this cosine with the example's own may well answer it
too, and is no negative."""


@dataclass(frozen=True, slots=True)
class Mined:
    """An example's place in a pool of passages, and the negatives found for it.

    Attributes:
        query: What was searched for; None stands for the example's question, freely rephrased.
        own: The retrieval score of the example's own passage.
        negatives: (position in the pool, retrieval score), the nearest first.
    """

    example: int
    query: str | None
    own: float
    negatives: tuple[tuple[int, float], ...]


def hybrid(
    cosines: NDArray[np.float32], words: NDArray[np.float32], weight: float = BM25_WEIGHT
) -> NDArray[np.float32]:
    """Return cosine + weight x BM25, the latter divided by its greatest value."""
    most = float(words.max()) if len(words) else 0.0
    return cosines if most <= 0 else cosines + weight * words / most


def mine(
    examples: Sequence[Example],
    texts: Sequence[str],
    encode: Callable[[list[str]], NDArray[np.float32]],
    on_progress: Progress | None = None,
) -> list[Mined]:
    """Search `texts` with every question of the examples and keep what is near but wrong.

    A candidate is dropped if it says the same (same words, or a cosine of `SAME_ANSWER`), answers
    the same (same words, cosine of the questions `SAME_QUESTION`), or is of the same group.

    Args:
        texts: The passage of each example, as it is searched.
        encode: Unit vectors of texts.
    """
    import numpy as np

    from medqa_tui.retrieval.lexical import LexicalIndex

    passages, questions = encode(list(texts)), encode([e.asked.question for e in examples])
    words = LexicalIndex.build(texts)
    asked = [(n, query) for n, e in enumerate(examples) for query in (None, *e.phrasings)]
    extra = encode([query for _, query in asked if query is not None])
    said = [(folded(e.asked.question), folded(e.text), e.group) for e in examples]
    mined, at = [], 0
    for done, (n, query) in enumerate(asked, 1):
        vector = questions[n] if query is None else extra[at]
        at += query is not None
        scores = hybrid(passages @ vector, words.scores(query or examples[n].asked.question))
        head = np.argpartition(-scores, min(POOL, len(scores) - 1))[:POOL]
        head = head[np.argsort(-scores[head], kind="stable")]
        same = (questions[head] @ questions[n] > SAME_QUESTION) | (
            passages[head] @ passages[n] > SAME_ANSWER
        )
        wrong = [
            (int(position), float(scores[position]))
            for position, like in zip(head, same, strict=True)
            if not like and not _any_shared(said[position], said[n])
        ]
        mined.append(Mined(n, query, float(scores[n]), tuple(wrong[:KEPT])))
        if on_progress is not None and (done % 200 == 0 or done == len(asked)):
            on_progress(done, len(asked))
    return mined


def _any_shared(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return any(mine and mine == theirs for mine, theirs in zip(one, other, strict=True))


def sampled(found: Mined, count: int, near: int, draw: random.Random) -> list[tuple[int, float]]:
    """Return `count` negatives, all but one of them among the `near` nearest."""
    head = list(found.negatives[:near])
    chosen = draw.sample(head, min(count - 1, len(head)))
    rest = [item for item in found.negatives if item not in chosen]
    return chosen + draw.sample(rest, min(count - len(chosen), len(rest)))
