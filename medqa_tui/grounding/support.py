"""Whether each sentence of a draft stands in the evidence, and in which passage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from medqa_tui.backend import GroundRequest, GroundResult
from medqa_tui.domain import Evidence, GeneratorKind, Passage, Sentence, Support
from medqa_tui.grounding.alignment import Clause, Fit, clauses, fit
from medqa_tui.grounding.citations import parse
from medqa_tui.grounding.empty import says_nothing
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.words import Words, analyse, content_stems

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], "np.ndarray"]

SUPPORTED = 0.8
PARTIAL = 0.5
# A cited passage is kept unless another one carries the sentence so much better.
_REPAIR_MARGIN = 0.15
_WORD = re.compile(r"[A-Za-z]+")
_SHORT_NAME = re.compile(r"\(([A-Z][A-Za-z]*[A-Z])\)")
_COSINE_FLOOR, _COSINE_TOP = 0.35, 0.85
_EMBED_SHARE = 0.3
# An embedding may move a sentence within reach of its words, never lift it far above them.
_LIFT = 0.15


@dataclass(frozen=True, slots=True)
class _Source:
    """A passage, ready to be compared with: whole, by clause and by sentence."""

    n: int
    title: str
    subject: frozenset[str]
    whole: Words
    clauses: tuple[Clause, ...]
    sentences: tuple[str, ...]
    plain: frozenset[str]


class SupportChecker:
    """Checks sentences against passages by words, numbers, negations and, if given, embeddings.

    Args:
        embed: Returns L2-normalised rows of shape (n, d), float32, for n texts.
    """

    def __init__(self, embed: Embed | None = None) -> None:
        self._embed = embed

    def check(self, request: GroundRequest) -> GroundResult:
        """Return the sentences without marks, each with its citations, support and score in [0, 1].

        A citation of a passage that does not exist, or that does not carry the sentence, is
        replaced by the passage that does; a sentence without one is given one.
        """
        sources = [_source(item) for item in request.evidence]
        return GroundResult(
            request.turn,
            tuple(self._check(text, request, sources) for text in request.sentences),
        )

    def _check(self, raw: str, request: GroundRequest, sources: Sequence[_Source]) -> Sentence:
        text, cited = parse(raw)
        text = _unlabelled(text, sources)
        valid = tuple(n for n in cited if any(source.n == n for source in sources))
        # Whole sentences only: "take aspirin" stands in "do not take aspirin".
        plain = _normalised(text)
        copied = tuple(source.n for source in sources if plain in source.plain)
        if not sources or says_nothing(text, request.question, copied=bool(copied)):
            return Sentence(text, valid, Support.UNSUPPORTED, 0.0)
        if copied:
            kept = tuple(n for n in valid if n in copied) or copied[:1]
            return Sentence(text, kept, Support.SUPPORTED, 1.0)
        if request.generator is GeneratorKind.EXTRACTIVE:
            # It only ever copies, so anything else is a fault.
            return Sentence(text, valid, Support.UNSUPPORTED, 0.0)
        scores = self._scores(text, sources)
        return _judged(text, valid, scores)

    def _scores(self, text: str, sources: Sequence[_Source]) -> dict[int, float]:
        """Return how far each passage carries the sentence, by evidence number."""
        claim = clauses([text])
        lexical = {s.n: fit(claim, s.clauses, s.subject, s.whole) for s in sources}
        close: dict[int, float] = {}
        if self._embed is not None:
            # Words alone decide the clear cases; an embedder reads some thirty sentences a second.
            unclear = [s for s in sources if PARTIAL - _LIFT <= lexical[s.n].score < SUPPORTED]
            close = self._closeness(text, unclear) if unclear else {}
        return {n: _mixed(words, close.get(n)) for n, words in lexical.items()}

    def _closeness(self, text: str, sources: Sequence[_Source]) -> dict[int, float]:
        """Return, for each passage, the cosine of its nearest sentence, rescaled to [0, 1]."""
        assert self._embed is not None
        texts = [text]
        spans: dict[int, tuple[int, int]] = {}
        for source in sources:
            spans[source.n] = (len(texts), len(texts) + len(source.sentences))
            texts.extend(source.sentences)
        rows = self._embed(texts)
        cosines = rows[1:] @ rows[0]
        found: dict[int, float] = {}
        for n, (start, end) in spans.items():
            best = float(cosines[start - 1 : end - 1].max()) if end > start else 0.0
            found[n] = min(1.0, max(0.0, (best - _COSINE_FLOOR) / (_COSINE_TOP - _COSINE_FLOOR)))
        return found


def _judged(text: str, valid: tuple[int, ...], scores: dict[int, float]) -> Sentence:
    best = max(scores, key=lambda n: (scores[n], -n))
    carrying = tuple(n for n in valid if scores[n] >= PARTIAL)
    own = max((scores[n] for n in carrying), default=0.0)
    if carrying and scores[best] - own < _REPAIR_MARGIN:
        citations, score = carrying, own
    else:
        citations, score = (best,), scores[best]
    score = round(score, 3)
    if score >= SUPPORTED:
        return Sentence(text, citations, Support.SUPPORTED, score)
    if score >= PARTIAL:
        return Sentence(text, citations, Support.PARTIAL, score)
    return Sentence(text, valid, Support.UNSUPPORTED, score)


def _mixed(words: Fit, closeness: float | None) -> float:
    score = words.score
    if closeness is not None:
        score = min((1 - _EMBED_SHARE) * score + _EMBED_SHARE * closeness, score + _LIFT)
    return min(score, words.ceiling)


@lru_cache(maxsize=256)
def _source(item: Evidence) -> _Source:
    passage = item.passage
    sentences = split_sentences(passage.text)
    # The title and the question name the subject that the text speaks of as "it".
    subject = " ".join(part for part in (passage.title, passage.question) if part)
    return _Source(
        n=item.n,
        title=passage.title,
        subject=content_stems(subject) | _short_names(passage),
        whole=analyse(passage.text),
        clauses=clauses(sentences),
        sentences=tuple(sentences),
        plain=frozenset(_normalised(sentence) for sentence in sentences),
    )


def _short_names(passage: Passage) -> frozenset[str]:
    """Return the stems of short names of the title that the text gives: "(COPD)"."""
    initials = {word[0].lower() for word in _WORD.findall(passage.title)}
    names = [name for name in _SHORT_NAME.findall(passage.text) if name[0].lower() in initials]
    acronym = "".join(word[0] for word in _WORD.findall(passage.title))
    return content_stems(" ".join([*names, acronym] if len(acronym) > 1 else names))


def _unlabelled(text: str, sources: Sequence[_Source]) -> str:
    """Return `text` without a label that a model copied from the prompt: "Asthma: It is ..."."""
    label, colon, rest = text.partition(": ")
    labels = {"evidence", "answer", *(source.title.lower() for source in sources)}
    if not colon or label.lower() not in labels or not rest[:1].isupper():
        return text
    return rest


def _normalised(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".!? ")
