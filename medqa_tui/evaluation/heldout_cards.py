"""Held-out questions from the starter cards that no training may use: the card is the reference.

Evidence is what the search finds once the card itself is taken out. Whether a passage answers is
told by the card's first sentence, which states the answer: on a dozen cards over MedQuAD and the
other cards, every passage with a sentence of cosine 0.8 or more to it answered, and none below
0.68 did (all-MiniLM-L6-v2).
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui import __version__
from medqa_tui.corpus.cards import CORPUS, Card, Split, load_cards
from medqa_tui.domain import Evidence, Scope
from medqa_tui.errors import UsageError
from medqa_tui.evaluation.cases import Case, read_cases, write_cases
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.words import content_stems
from medqa_tui.paths import ensure
from medqa_tui.retrieval import gate, relevance

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.retrieval.embedder import TextEmbedder
    from medqa_tui.retrieval.retriever import Retriever

STARTER = "starter"
ANSWERS, MAY_ANSWER = 0.8, 0.68
_DEPTH = 30

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Search:
    """What finds the evidence, as the program would."""

    retriever: Retriever
    embedder: TextEmbedder
    settings: Settings

    def find(self, question: str) -> tuple[Evidence, ...]:
        """Return the passages that the search puts first, best first."""
        options = self.settings.retrieval
        scope = Scope(options.corpora_of(self.settings.profile))
        return self.retriever.search(
            question, _DEPTH, mode=options.mode, rerank=options.rerank, scope=scope
        ).evidence

    def key(self, reranker: str | None) -> str:
        """Return the SHA-256 (hex) of what the evidence depends on, as far as it is known."""
        manifest = self.retriever.manifest
        told = [
            __version__,
            manifest.corpora,
            manifest.embedder.id,
            manifest.embedder.revision,
            reranker,
            self.settings.retrieval.model_dump(),
            gate.WEIGHTS,
            self.settings.profile,
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def heldout_cards(seed: int) -> list[Card]:
    """Return the held-out cards, shuffled.

    Raises:
        UsageError: There are none.
    """
    cards = [card for card in load_cards() if card.split is Split.HELDOUT]
    if not cards:
        raise UsageError(
            "There are no held-out cards.",
            "Every starter card may be trained on.",
            "Compare on a file of your own: --data FILE",
        )
    random.Random(seed).shuffle(cards)  # noqa: S311 - repeatable, not secret
    return cards


def starter_cases(
    search: Search,
    count: int,
    seed: int,
    *,
    cache: Path,
    reranker: str | None,
    on_progress: Progress,
    cancel: threading.Event,
) -> tuple[Case, ...]:
    """Return `count` cases whose evidence answers and as many whose does not, or fewer.

    Where that is possible, one card gives one of each, so that the question betrays nothing.

    Args:
        cache: A folder in which the set is kept.
        reranker: The re-ranker in use, and how its scores count.
        on_progress: Called with how many cases there are and are wanted.
        cancel: Ends the search; what was found is returned, and not kept.

    Raises:
        UsageError: There are no held-out cards, or the index answers none of them.
    """
    file = cache / f"starter-{search.key(reranker)[:24]}-{count}-{seed}.jsonl"
    if file.is_file():
        return read_cases(file)
    answerable: list[Case] = []
    unanswerable: list[Case] = []
    with_topic = 0
    for card in heldout_cards(seed):
        if cancel.is_set() or len(answerable) == len(unanswerable) == count:
            break
        on_progress(len(answerable) + len(unanswerable), 2 * count)
        found = _Found(card, search)
        if len(answerable) < count and (case := found.answerable()):
            answerable.append(case)
        # In half of them passages of the same topic stay, as far as there are any.
        keep_topic = 2 * with_topic <= len(unanswerable)
        if len(unanswerable) < count and (case := found.unanswerable(keep_topic=keep_topic)):
            with_topic += found.is_of_topic(case)
            unanswerable.append(case)
    if not answerable and not cancel.is_set():
        raise UsageError(
            "Nothing in the index answers a held-out card once the card itself is taken out.",
            f"It holds: {', '.join(sorted(search.retriever.manifest.corpora))}.",
            "Add a corpus that does: medqa-tui corpus add medquad",
        )
    cases = (*answerable, *unanswerable)
    if not cancel.is_set():
        ensure(cache)
        write_cases(file, cases)
    return cases


class _Found:
    """What the search finds for one card, and how surely each passage answers it."""

    def __init__(self, card: Card, search: Search) -> None:
        self._card = card
        self._search = search
        self._found = [
            item
            for item in search.find(card.question)
            if (item.passage.corpus, item.passage.document) != (CORPUS, card.id)
        ]
        self._answer = search.embedder.encode(split_sentences(card.answer)[:1])[0]
        self._sure: dict[str, float] = {}

    def answerable(self) -> Case | None:
        """Return the card with what is found for it, if a passage that is read answers it."""
        case = self._case("answerable", self._found, answerable=True)
        if case and any(self._sureness(item) >= ANSWERS for item in case.evidence):
            return case
        return None

    def unanswerable(self, *, keep_topic: bool) -> Case | None:
        """Return the card with what is found beside all that may answer it."""
        wrong = self._wrong() if keep_topic else (i for i in self._wrong() if not self._same(i))
        return self._case("unanswerable", wrong, answerable=False)

    def is_of_topic(self, case: Case) -> bool:
        """Tell whether a passage of the card's topic is read."""
        return any(self._same(item) for item in case.evidence)

    @property
    def _k(self) -> int:
        return self._search.settings.retrieval.k

    def _wrong(self) -> Iterator[Evidence]:
        return (item for item in self._found if self._sureness(item) < MAY_ANSWER)

    def _case(
        self, name: str, found: Sequence[Evidence] | Iterator[Evidence], *, answerable: bool
    ) -> Case | None:
        first = zip(range(1, self._k + 1), found, strict=False)
        evidence = tuple(replace(item, n=n) for n, item in first)
        if not evidence:
            return None
        question = self._card.question
        signals = self._search.retriever.signals(question, evidence)
        read = relevance.worth_reading(evidence)
        return Case(
            f"{self._card.id}:{name}",
            question,
            " ".join(self._card.answer.split()),
            read,
            answerable,
            relevant=relevance.is_relevant(question, evidence, signals=signals),
            close=relevance.is_close(question, read),
        )

    def _sureness(self, item: Evidence) -> float:
        """Return the cosine of the card's answer to the passage's nearest sentence."""
        passage = item.passage
        if passage.id not in self._sure:
            rows = self._search.embedder.encode(split_sentences(passage.text) or [passage.text])
            self._sure[passage.id] = float((rows @ self._answer).max())
        return self._sure[passage.id]

    def _same(self, item: Evidence) -> bool:
        about = content_stems(f"{item.passage.title}. {item.passage.question or ''}")
        return bool(content_stems(self._card.topic) & about)
