"""From a query to numbered evidence: both arms, fusion, re-ranking, and whether it is relevant."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Evidence, Passage, Scope
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import lexical
from medqa_tui.retrieval.candidates import Candidates
from medqa_tui.retrieval.dense import DenseIndex
from medqa_tui.retrieval.embedder import TextEmbedder
from medqa_tui.retrieval.fusion import fused_score
from medqa_tui.retrieval.loading import exact_message, load_dense, load_vocabulary, load_words
from medqa_tui.retrieval.manifest import REBUILD, IndexManifest
from medqa_tui.retrieval.proximity import pair_scores
from medqa_tui.retrieval.reading import Reader, Reading
from medqa_tui.retrieval.relevance import is_relevant
from medqa_tui.retrieval.reranker import fused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medqa_tui.config.schema import RetrievalSettings

Mode = Literal["hybrid", "bm25", "dense"]

POOL = 50
EVERYTHING = Scope()

_Part = tuple[Scope, dict[str, str]]


class PairScorer(Protocol):
    """What the retriever asks of a reranker."""

    @property
    def depth(self) -> int: ...

    @property
    def retrieval_weight(self) -> float: ...

    def score(self, query: str, texts: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        relevant: Whether the evidence is near enough to the query to answer from.
        notices: (code, message) of what the user should know, such as a fall to another search.
    """

    evidence: tuple[Evidence, ...]
    relevant: bool
    notices: tuple[tuple[str, str], ...] = ()


class Retriever:
    """Searches an index; lexical at once, hybrid as soon as an embedder is attached.

    Safe to use from several threads.
    """

    def __init__(
        self,
        folder: Path,
        manifest: IndexManifest,
        store: CorpusStore,
        settings: RetrievalSettings | None,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._store = store
        self._pool = settings.pool if settings else POOL
        self._rerank_depth = settings.rerank_depth if settings else 0
        self._by_ranks = settings is not None and settings.fusion == "rrf"
        words = load_words(folder, manifest, store)
        self._ids, self._words = words.ids, words.index
        self._dense: DenseIndex | None = None
        self._embedder: TextEmbedder | None = None
        self._reranker: PairScorer | None = None
        self._reader: Reader | None = None
        self._word_notices = words.notices
        self._notices: tuple[tuple[str, str], ...] = ()
        self._scope: tuple[_Part, NDArray[np.bool_]] | None = None
        self._attaching = threading.Lock()

    @classmethod
    def open(
        cls,
        index_folder: Path,
        store: CorpusStore,
        embedder: TextEmbedder | None = None,
        reranker: PairScorer | None = None,
        settings: RetrievalSettings | None = None,
    ) -> Retriever:
        """Open the index in `index_folder`; without an embedder only words are searched.

        Raises:
            MedQAError: There is no index, a file of it is damaged, or the embedder is another
                one than the index was made with.
        """
        retriever = cls(index_folder, IndexManifest.read(index_folder), store, settings)
        retriever.attach(embedder, reranker)
        return retriever

    def attach(
        self, embedder: TextEmbedder | None = None, reranker: PairScorer | None = None
    ) -> None:
        """Add an embedder, a reranker, or both; what is not given stays as it is.

        Raises:
            MedQAError: The vectors are damaged, or were made by another embedder.
        """
        with self._attaching:
            if embedder is not None:
                reasons = self.manifest.embedder.differences(embedder.identity)
                if reasons:
                    raise MedQAError(
                        "The search index was made with another embedding model.",
                        f"{'; '.join(reasons)}.",
                        REBUILD,
                    )
                if self._dense is None:
                    self._dense, self._notices = load_dense(self.folder, self.manifest)
                words = load_vocabulary(self.folder, self.manifest)
                self._reader = Reader(words, embedder.knows, self.manifest.passages)
                self._embedder = embedder
            if reranker is not None:
                self._reranker = reranker

    @property
    def has_embedder(self) -> bool:
        """Whether the dense arm takes part."""
        return self._embedder is not None

    def lexical(self, query: str, k: int, scope: Scope = EVERYTHING) -> tuple[Evidence, ...]:
        """Return the `k` best passages by BM25 alone; needs no model."""
        candidates = self._by_words(query, max(self._pool, k), self._allowed(scope))
        return self._evidence(candidates, k)[0]

    def search(
        self,
        query: str,
        k: int,
        mode: Mode = "hybrid",
        rerank: bool = True,
        scope: Scope = EVERYTHING,
    ) -> SearchResult:
        """Return the `k` best passages for `query`, best first, numbered from 1.

        Args:
            mode: Which arms take part; a dense arm that is not there is left out, with a notice.
            rerank: Whether the reranker, if there is one, orders the top.
            scope: What part of the index to search.
        """
        notices: list[tuple[str, str]] = [*self._word_notices]
        if unknown := sorted(set(scope.corpora) - self.manifest.corpora.keys()):
            notices.append(("unknown_corpus", _unknown_message(unknown, self.manifest)))
        allowed = self._allowed(scope)
        pool = max(self._pool, k)
        embedder, dense = self._embedder, self._dense
        reading = self._reader.read(query) if self._reader else Reading(query)
        if reading.corrections:
            notices.append(("spelling", _spelling_message(reading)))
        query = reading.text
        if mode == "bm25" or embedder is None or dense is None:
            if mode != "bm25":
                notices.append(
                    ("lexical_only", "The embedding model is not loaded; searching by words only.")
                )
            candidates = self._by_words(reading.searched, pool, allowed)
        else:
            vector = embedder.encode_query(reading.searched)
            words = self._by_words(reading.searched, pool if mode == "hybrid" else 0, allowed)
            candidates = words.joined(dense.search(vector, pool, allowed))
            self._complete(candidates, reading.searched, vector, dense)
            if mode == "hybrid":
                self._fuse(candidates, reading.searched, dense)
            notices.extend(self._notices)
            if dense.failure is not None:
                notices.append(("exact_search", exact_message(dense.failure)))
        # Whether there is an answer at all is told by how near passages are, not by their order.
        judged = self._evidence(candidates, k)[0]
        coverage = self._words.coverage(query, candidates.order[:k])
        if rerank and self._reranker is not None:
            self._rerank(candidates, query, self._reranker)
        evidence, gone = self._evidence(candidates, k)
        if stale := self._stale():
            notices.append(("stale_index", f"The search index is behind: {stale}. {REBUILD}"))
        elif gone:
            notices.append(
                ("stale_index", f"{gone} found passages are no longer in the corpus. {REBUILD}")
            )
        return SearchResult(evidence, is_relevant(query, judged, coverage), tuple(notices))

    def _allowed(self, scope: Scope) -> NDArray[np.bool_] | None:
        indexed, now = self.manifest.corpora.keys(), self._store.fingerprints()
        # What was removed from the store must not crowd out what is there.
        wanted = {
            name for name in indexed & now.keys() if not scope.corpora or name in scope.corpora
        }
        if not scope.by_row and wanted == indexed:
            return None
        # The queries of a run all look at the same part.
        part = (scope, now)
        kept = self._scope
        if kept is None or kept[0] != part:
            kept = (part, self._covered(scope, wanted))
            self._scope = kept
        return kept[1]

    def _covered(self, scope: Scope, wanted: set[str]) -> NDArray[np.bool_]:
        import numpy as np

        if scope.by_row:
            covered = self._store.within(scope)
            return np.fromiter((i in covered for i in self._ids), bool, len(self._ids))
        return np.fromiter((i.split(":", 1)[0] in wanted for i in self._ids), bool, len(self._ids))

    def _stale(self) -> str:
        """Return in words what the store has otherwise than the index; nothing if they agree."""
        indexed, now = self.manifest.corpora, self._store.fingerprints(self.manifest.requested)
        told = (
            ("was removed", sorted(indexed.keys() - now.keys())),
            ("is not in it yet", sorted(now.keys() - indexed.keys())),
            ("has changed", sorted(n for n in indexed if now.get(n, indexed[n]) != indexed[n])),
        )
        return ", ".join(f"{name} {what}" for what, names in told for name in names)

    def _by_words(self, query: str, k: int, allowed: NDArray[np.bool_] | None) -> Candidates:
        hits = lexical.best(self._words.scores(query), k, allowed) if k else []
        return Candidates.of_words(hits)

    def _complete(
        self, found: Candidates, query: str, vector: NDArray[np.float32], dense: DenseIndex
    ) -> None:
        """Give every candidate the score of the arm that did not bring it."""
        lacking = [position for position in found.order if position not in found.dense]
        found.dense.update(zip(lacking, dense.cosines(vector, lacking), strict=True))
        scores = self._words.scores(query)
        for position in found.order:
            found.bm25.setdefault(position, float(scores[position]))

    def _fuse(self, found: Candidates, query: str, dense: DenseIndex) -> None:
        """Put the candidates in one order, by their scores or by their ranks in the arms."""
        passages = self._store.get([self._ids[position] for position in found.order])
        texts = [_whole(passages.get(self._ids[position])) for position in found.order]
        pairs = pair_scores(query, texts, self._words.idf)
        found.fused = {
            position: fused_score(
                found.dense[position], found.bm25[position], pair, dense.crowding(position)
            )
            for position, pair in zip(found.order, pairs, strict=True)
        }
        if not self._by_ranks:
            by = found.fused
            found.order = sorted(found.order, key=lambda position: (-by[position], position))

    def _rerank(self, found: Candidates, query: str, reranker: PairScorer) -> None:
        head = found.order[: self._rerank_depth or reranker.depth]
        passages = self._store.get([self._ids[position] for position in head])
        head = [position for position in head if self._ids[position] in passages]
        texts = [_shown(passages[self._ids[position]]) for position in head]
        scores = reranker.score(query, texts)
        found.rerank = dict(zip(head, scores, strict=True))
        retrieved = found.fused or found.dense
        own = [retrieved.get(position, 0.0) for position in head]
        by = dict(zip(head, fused(scores, own, reranker.retrieval_weight), strict=True))
        # Stable: equal scores keep the order of fusion. What was not scored follows.
        head = sorted(head, key=lambda position: -by[position])
        found.order = head + [p for p in found.order if p not in found.rerank]

    def _evidence(self, found: Candidates, k: int) -> tuple[tuple[Evidence, ...], int]:
        """Return the first `k` candidates as evidence, and how many the store no longer has."""
        items: list[Evidence] = []
        looked = 0
        while len(items) < k and looked < len(found.order):
            part = found.order[looked : looked + k - len(items)]
            looked += len(part)
            passages = self._store.get([self._ids[position] for position in part])
            for position in part:
                passage = passages.get(self._ids[position])
                if passage is not None:
                    items.append(Evidence(len(items) + 1, passage, found.scores(position)))
        return tuple(items), looked - len(items)


def _shown(passage: Passage) -> str:
    return f"{passage.question or passage.title}\n{passage.text}"


def _whole(passage: Passage | None) -> str:
    if passage is None:
        return ""
    return f"{passage.title}\n{passage.question or ''}\n{passage.text}"


def _unknown_message(names: list[str], manifest: IndexManifest) -> str:
    there = ", ".join(sorted(manifest.corpora))
    return f"There is no corpus {', '.join(names)} in the index. There are: {there}."


def _spelling_message(reading: Reading) -> str:
    pairs = [f"{right} for {typed}" for typed, right in reading.corrections]
    return f"Read {', '.join(pairs)}."
