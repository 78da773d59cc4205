"""From a query to numbered evidence: both arms, fusion, re-ranking, and whether it is relevant."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Evidence, Passage, Scope
from medqa_tui.retrieval import lexical
from medqa_tui.retrieval.agreement import Difference, differences
from medqa_tui.retrieval.blending import Blend
from medqa_tui.retrieval.candidates import Candidates
from medqa_tui.retrieval.dense import DenseIndex
from medqa_tui.retrieval.embedder import TextEmbedder
from medqa_tui.retrieval.fusion import fused_score
from medqa_tui.retrieval.gate import Corpus, Signals, signals_of
from medqa_tui.retrieval.loading import OpenIndex, exact_message, open_index, with_embedder
from medqa_tui.retrieval.manifest import REBUILD, IndexManifest
from medqa_tui.retrieval.proximity import pair_scores
from medqa_tui.retrieval.reading import Reading
from medqa_tui.retrieval.relevance import is_relevant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medqa_tui.config.schema import RetrievalSettings

Mode = Literal["hybrid", "bm25", "dense"]

POOL = 50
EVERYTHING = Scope()

_Part = tuple[str, Scope, dict[str, str]]


class PairScorer(Protocol):
    """What the retriever asks of a reranker."""

    @property
    def depth(self) -> int: ...

    @property
    def blend(self) -> Blend | None: ...

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
        self, index: OpenIndex, store: CorpusStore, settings: RetrievalSettings | None
    ) -> None:
        # A search works on the one that it began with; another may come in the meantime.
        self._index = index
        self._store = store
        self._pool = settings.pool if settings else POOL
        self._rerank_depth = settings.rerank_depth if settings else 0
        self._by_ranks = settings is not None and settings.fusion == "rrf"
        self._embedder: TextEmbedder | None = None
        self._reranker: PairScorer | None = None
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
    ) -> Self:
        """Open the index in `index_folder`; without an embedder only words are searched.

        Raises:
            MedQAError: There is no index, a file of it is damaged, or the embedder is another
                one than the index was made with.
        """
        retriever = cls(open_index(index_folder, store, embedder), store, settings)
        retriever._embedder, retriever._reranker = embedder, reranker
        return retriever

    def attach(
        self, embedder: TextEmbedder | None = None, reranker: PairScorer | None = None
    ) -> None:
        """Add an embedder, a reranker, or both; what is not given stays as it is.

        If a build replaced the index since it was opened, the new one is searched from now on.

        Raises:
            MedQAError: The vectors are damaged, or were made by another embedder.
        """
        with self._attaching:
            if embedder is not None:
                self._index = with_embedder(self._index, self._store, embedder)
                self._embedder = embedder
            if reranker is not None:
                self._reranker = reranker

    @property
    def manifest(self) -> IndexManifest:
        """What the index was made from and with."""
        return self._index.manifest

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the passages, by their position in the index."""
        return self._index.ids

    @property
    def has_embedder(self) -> bool:
        """Whether the dense arm takes part."""
        return self._embedder is not None

    def lexical(self, query: str, k: int, scope: Scope = EVERYTHING) -> tuple[Evidence, ...]:
        """Return the `k` best passages by BM25 alone; needs no model."""
        index = self._index
        candidates = _by_words(index, query, max(self._pool, k), self._allowed(index, scope))
        return self._evidence(index, candidates, k)[0]

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
        index = self._index
        notices: list[tuple[str, str]] = [*index.damage]
        if unknown := sorted(set(scope.corpora) - index.manifest.corpora.keys()):
            notices.append(("unknown_corpus", _unknown_message(unknown, index.manifest)))
        allowed = self._allowed(index, scope)
        pool = max(self._pool, k)
        embedder, dense = self._embedder, index.dense
        reading = index.reader.read(query) if index.reader else Reading(query)
        if reading.corrections:
            notices.append(("spelling", _spelling_message(reading)))
        query = reading.text
        vector = None
        if mode == "bm25" or embedder is None or dense is None:
            if mode != "bm25":
                notices.append(
                    ("lexical_only", "The embedding model is not loaded; searching by words only.")
                )
            candidates = _by_words(index, reading.searched, pool, allowed)
        else:
            vector = embedder.encode_query(reading.searched)
            words = _by_words(index, reading.searched, pool if mode == "hybrid" else 0, allowed)
            candidates = words.joined(dense.search(vector, pool, allowed))
            _complete(candidates, index.words.scores(reading.searched), vector, dense)
            if mode == "hybrid":
                self._fuse(index, candidates, reading.searched, dense)
            notices.extend(index.dense_damage)
            if dense.failure is not None:
                notices.append(("exact_search", exact_message(dense.failure)))
        # Whether there is an answer at all is told by how near passages are, not by their order.
        judged = self._evidence(index, candidates, k)[0]
        if vector is None:
            coverage = index.words.coverage(query, candidates.order[:k])
            relevant = is_relevant(query, judged, coverage)
        else:
            signals = self._signals(index, query, vector, judged)
            relevant = is_relevant(query, judged, signals=signals)
        if rerank and self._reranker is not None:
            self._rerank(index, candidates, query, self._reranker)
        evidence, gone = self._evidence(index, candidates, k)
        if stale := self._stale(index.manifest):
            notices.append(("stale_index", f"The search index is behind: {stale}. {REBUILD}"))
        elif gone:
            notices.append(
                ("stale_index", f"{gone} found passages are no longer in the corpus. {REBUILD}")
            )
        return SearchResult(evidence, relevant, tuple(notices))

    def signals(self, query: str, evidence: Sequence[Evidence]) -> Signals | None:
        """Return what `evidence`, found by a search for `query`, tells of how well that went.

        None without an embedder, or where the evidence has no cosines.
        """
        index, embedder = self._index, self._embedder
        if embedder is None or not any(item.scores.dense is not None for item in evidence):
            return None
        reading = index.reader.read(query) if index.reader else Reading(query)
        vector = embedder.encode_query(reading.searched)
        return self._signals(index, reading.text, vector, evidence)

    def _signals(
        self,
        index: OpenIndex,
        query: str,
        vector: NDArray[np.float32],
        evidence: Sequence[Evidence],
    ) -> Signals:
        embedder = self._embedder
        assert embedder is not None
        words = index.words
        corpus = Corpus(len(words), words.idf, embedder.knows, embedder.encode)
        return signals_of(query, vector, evidence, corpus)

    def _allowed(self, index: OpenIndex, scope: Scope) -> NDArray[np.bool_] | None:
        indexed, now = index.manifest.corpora.keys(), self._store.fingerprints()
        # What was removed from the store must not crowd out what is there.
        wanted = {
            name for name in indexed & now.keys() if not scope.corpora or name in scope.corpora
        }
        if not scope.by_row and wanted == indexed:
            return None
        # The queries of a run all look at the same part.
        part = (index.manifest.generation, scope, now)
        kept = self._scope
        if kept is None or kept[0] != part:
            kept = (part, self._covered(index, scope, wanted))
            self._scope = kept
        return kept[1]

    def _covered(self, index: OpenIndex, scope: Scope, wanted: set[str]) -> NDArray[np.bool_]:
        import numpy as np

        if scope.by_row:
            covered = self._store.within(scope)
            return np.fromiter((i in covered for i in index.ids), bool, len(index.ids))
        allowed = np.zeros(len(index.ids), dtype=bool)
        for name in wanted:
            allowed[index.positions(name)] = True
        return allowed

    def _stale(self, manifest: IndexManifest) -> str:
        """Return in words what the store has otherwise than the index; nothing if they agree."""
        found = differences(manifest, self._store)
        told = ((name, how) for how in Difference for name in found if found[name] is how)
        return ", ".join(f"{name} {how}" for name, how in told)

    def _fuse(self, index: OpenIndex, found: Candidates, query: str, dense: DenseIndex) -> None:
        """Put the candidates in one order, by their scores or by their ranks in the arms."""
        passages = self._store.get([index.ids[position] for position in found.order])
        texts = [_whole(passages.get(index.ids[position])) for position in found.order]
        pairs = pair_scores(query, texts, index.words.idf)
        found.fused = {
            position: fused_score(
                found.dense[position], found.bm25[position], pair, dense.crowding(position)
            )
            for position, pair in zip(found.order, pairs, strict=True)
        }
        if not self._by_ranks:
            by = found.fused
            found.order = sorted(found.order, key=lambda position: (-by[position], position))

    def _rerank(
        self, index: OpenIndex, found: Candidates, query: str, reranker: PairScorer
    ) -> None:
        head = found.order[: self._rerank_depth or reranker.depth]
        passages = self._store.get([index.ids[position] for position in head])
        head = [position for position in head if index.ids[position] in passages]
        texts = [_shown(passages[index.ids[position]]) for position in head]
        scores = reranker.score(query, texts)
        found.rerank = dict(zip(head, scores, strict=True))
        if reranker.blend is not None:
            retrieved = found.fused or found.dense
            own = [retrieved.get(position, 0.0) for position in head]
            scores = reranker.blend.scores(scores, own)
        by = dict(zip(head, scores, strict=True))
        # Stable: equal scores keep the order of fusion. What was not scored follows.
        head = sorted(head, key=lambda position: -by[position])
        found.order = head + [p for p in found.order if p not in found.rerank]

    def _evidence(
        self, index: OpenIndex, found: Candidates, k: int
    ) -> tuple[tuple[Evidence, ...], int]:
        """Return the first `k` candidates as evidence, and how many the store no longer has."""
        items: list[Evidence] = []
        looked = 0
        while len(items) < k and looked < len(found.order):
            part = found.order[looked : looked + k - len(items)]
            looked += len(part)
            passages = self._store.get([index.ids[position] for position in part])
            for position in part:
                passage = passages.get(index.ids[position])
                if passage is not None:
                    items.append(Evidence(len(items) + 1, passage, found.scores(position)))
        return tuple(items), looked - len(items)


def _by_words(
    index: OpenIndex, query: str, k: int, allowed: NDArray[np.bool_] | None
) -> Candidates:
    hits = lexical.best(index.words.scores(query), k, allowed) if k else []
    return Candidates.of_words(hits)


def _complete(
    found: Candidates,
    bm25: NDArray[np.float32],
    vector: NDArray[np.float32],
    dense: DenseIndex,
) -> None:
    """Give every candidate the score of the arm that did not bring it."""
    lacking = [position for position in found.order if position not in found.dense]
    found.dense.update(zip(lacking, dense.cosines(vector, lacking), strict=True))
    for position in found.order:
        found.bm25.setdefault(position, float(bm25[position]))


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
