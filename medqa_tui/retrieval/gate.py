"""How likely it is that what a search found answers the question: four signals, one number.

A logistic regression whose weights keep their signs: what is nearer, or shares more, never counts
against. `scripts/starter_adapter/gate.py` makes the questions of train cards, fits the weights, and
prints what they are worth on topics that they were not fitted on: 93% of everyday phrasings are let
through, 99% where another passage answers; of those with nothing that answers, 46% are refused over
the cards and MedQuAD where the topic is gone, 26% where other sides of it stay, 77% of diseases
that no card names (8, 2 and 56% by cosine and words alone, which let 97% through).

Nearness alone takes a passage about another side of the same thing for an answer. What betrays it
is that it shares the question's words and yet has no sentence that means the same; a question in
lay words shares few, and may be further away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.domain import Evidence
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.retrieval import lexical, terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR = 0.7
"""Cosine of a sentence with the question from which on it misses nothing."""

MOST_SENTENCES = 6
"""Sentences embedded a question, those that share most of its words: some 25 ms on one CPU core.
All forty of five passages, in 150 ms, part the two kinds no better."""

MOST_PASSAGES = 5
"""Passages looked at: the weights were fitted on so many."""

_SHARING = 3
_LONGEST = 400

BIAS = -4.4
COSINE = 9.2
WORDS = 0.92
MISSED = 23.2
FOREIGN = 0.55
WEIGHTS = (BIAS, COSINE, WORDS, MISSED, FOREIGN)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the gate asks of an index and its embedder.

    Attributes:
        passages: How many the index has.
        idf: Inverse document frequency of a stem; 0 for one that no passage has.
        knows: Whether a word in small letters is a common one of the language.
        embed: Returns unit vectors, float32 of shape (n, d), for n texts.
    """

    passages: int
    idf: Callable[[str], float]
    knows: Callable[[str], bool]
    embed: Callable[[list[str]], NDArray[np.float32]]

    @property
    def rarest(self) -> float:
        """What a word weighs that no passage has."""
        return math.log(1 + self.passages)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is told by a search of how well it went.

    Attributes:
        cosine: The best passage's.
        words: The best passage's BM25, in weights of a word that no passage has.
        missed: How far, in cosine, the nearest sentence is from `NEAR`, times the share of the
            question that stands in the passages; at least 0.
        foreign: Words of the topic that no passage found has, and that are no common ones: names.
    """

    cosine: float
    words: float
    missed: float
    foreign: int


def log_odds(signals: Signals) -> float:
    """Return the log odds, by the fit, that the passages answer, less what is asked for."""
    return (
        BIAS
        + COSINE * signals.cosine
        + WORDS * signals.words
        - MISSED * signals.missed
        - FOREIGN * signals.foreign
    )


def signals_of(
    query: str, vector: NDArray[np.float32], evidence: Sequence[Evidence], corpus: Corpus
) -> Signals:
    """Return what `evidence`, which must have cosines, says.

    Args:
        query: The question, its misspelt words put right.
        vector: What was searched for, as a unit vector of shape (d,).
    """
    evidence = evidence[:MOST_PASSAGES]
    scores = [item.scores for item in evidence]
    return Signals(
        cosine=max((score.dense or 0.0 for score in scores), default=0.0),
        words=max((score.bm25 or 0.0 for score in scores), default=0.0) / corpus.rarest,
        missed=_missed(query, vector, evidence, corpus),
        foreign=_foreign(query, evidence, corpus),
    )


def _missed(
    query: str, vector: NDArray[np.float32], evidence: Sequence[Evidence], corpus: Corpus
) -> float:
    weights = {stem: corpus.idf(stem) or corpus.rarest for stem in lexical.tokenize(query)}
    total = sum(weights.values())
    sentences = [s for item in evidence for s in split_sentences(item.passage.text)]
    if not total or not sentences:
        return 0.0
    shares = [
        sum(weights[stem] for stem in weights.keys() & set(lexical.tokenize(sentence))) / total
        for sentence in sentences
    ]
    order = sorted(range(len(sentences)), key=lambda n: -shares[n])
    sharing = order[:_SHARING]
    shared = sum(shares[n] for n in sharing) / len(sharing)
    if not shared:
        return 0.0
    rows = corpus.embed([sentences[n][:_LONGEST] for n in order[:MOST_SENTENCES]])
    return shared * max(0.0, NEAR - float((rows @ vector).max()))


def _foreign(query: str, evidence: Sequence[Evidence], corpus: Corpus) -> int:
    there: set[str] = set()
    for item in evidence:
        passage = item.passage
        there.update(lexical.tokenize(f"{passage.title}\n{passage.question or ''}\n{passage.text}"))
    wanted = terms.topic_words(query)
    stems = lexical.stemmer().stemWords(wanted)
    return sum(
        stem not in there and not corpus.knows(word)
        for word, stem in zip(wanted, stems, strict=True)
    )
