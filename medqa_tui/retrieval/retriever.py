"""From a query to numbered evidence: both arms, fusion, re-ranking, and whether it is relevant."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Evidence, Passage, Scores
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import index as files
from medqa_tui.retrieval import lexical
from medqa_tui.retrieval.dense import DenseIndex, load_hnsw
from medqa_tui.retrieval.embedder import TextEmbedder
from medqa_tui.retrieval.fusion import reciprocal_rank_fusion
from medqa_tui.retrieval.manifest import REBUILD, IndexManifest
from medqa_tui.retrieval.probe import probe_once
from medqa_tui.retrieval.reading import Reader, Reading, vocabulary
from medqa_tui.retrieval.relevance import is_relevant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medqa_tui.config.schema import RetrievalSettings

Mode = Literal["hybrid", "bm25", "dense"]

DENSE_WEIGHT = 1.0
BM25_WEIGHT = 0.1
"""On 93 lay questions over 199 starter cards, recall@1 / recall@5 of the fused list was .763 / .978
with a weight of 0.5, .817 / .978 with 0.25 and .828 / .989 with 0.1; BM25 alone .710 / .860. It is
not zero, since words are what finds a rare name that the embedder never saw."""
POOL = 50
READ_PASSAGES = 20_000
"""A corpus of more passages is not read for its words, which would take seconds."""


class PairScorer(Protocol):
    """What the retriever asks of a reranker."""

    @property
    def depth(self) -> int: ...

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


@dataclass(slots=True)
class _Candidates:
    """Positions in the index with what each arm says of them."""

    order: list[int]
    bm25: dict[int, float] = field(default_factory=dict)
    bm25_rank: dict[int, int] = field(default_factory=dict)
    dense: dict[int, float] = field(default_factory=dict)
    dense_rank: dict[int, int] = field(default_factory=dict)
    rrf: dict[int, float] = field(default_factory=dict)
    rerank: dict[int, float] = field(default_factory=dict)

    def scores(self, position: int) -> Scores:
        return Scores(
            dense=self.dense.get(position),
            bm25=self.bm25.get(position),
            rrf=self.rrf.get(position),
            rerank=self.rerank.get(position),
            dense_rank=self.dense_rank.get(position),
            bm25_rank=self.bm25_rank.get(position),
        )


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
        manifest.require(folder, (*lexical.FILES, files.IDS_FILE))
        root = manifest.folder(folder)
        self._ids: list[str] = json.loads((root / files.IDS_FILE).read_text(encoding="utf-8"))
        self._words = lexical.LexicalIndex.load(root)
        self._dense: DenseIndex | None = None
        self._embedder: TextEmbedder | None = None
        self._reranker: PairScorer | None = None
        self._reader: Reader | None = None
        self._notices: tuple[tuple[str, str], ...] = ()
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
                    self._dense = self._load_dense()
                self._reader = Reader(self._vocabulary(), embedder.knows)
                self._embedder = embedder
            if reranker is not None:
                self._reranker = reranker

    @property
    def has_embedder(self) -> bool:
        """Whether the dense arm takes part."""
        return self._embedder is not None

    def _vocabulary(self) -> Mapping[str, int]:
        if self.manifest.passages > READ_PASSAGES:
            return {}
        return vocabulary(self._store.records(tuple(self.manifest.corpora)))

    def _load_dense(self) -> DenseIndex:
        import numpy as np

        self.manifest.require(self.folder, (files.VECTORS_FILE, files.OWNERS_FILE))
        root = self.manifest.folder(self.folder)
        vectors = np.load(root / files.VECTORS_FILE, mmap_mode="r", allow_pickle=False)
        owners = np.load(root / files.OWNERS_FILE, allow_pickle=False)
        hnsw, why_not = None, self.manifest.hnsw_reason
        if self.manifest.hnsw is not None:
            problems = self.manifest.file_problems(self.folder, (files.HNSW_FILE,))
            probe = probe_once(self.folder)
            if problems:
                why_not = "; ".join(problems)
            elif not probe.ok:
                why_not = probe.reason
            else:
                try:
                    hnsw = load_hnsw(root / files.HNSW_FILE, *vectors.shape)
                except (RuntimeError, ImportError) as error:
                    why_not = str(error)
        if hnsw is None:
            self._notices = (("exact_search", _exact_message(why_not)),)
        return DenseIndex(vectors, owners, hnsw)

    def lexical(self, query: str, k: int, corpora: Sequence[str] = ()) -> tuple[Evidence, ...]:
        """Return the `k` best passages by BM25 alone; needs no model."""
        candidates = self._by_words(query, k, self._allowed(corpora))
        return self._evidence(candidates, k)[0]

    def search(
        self,
        query: str,
        k: int,
        mode: Mode = "hybrid",
        rerank: bool = True,
        corpora: Sequence[str] = (),
    ) -> SearchResult:
        """Return the `k` best passages for `query`, best first, numbered from 1.

        Args:
            mode: Which arms take part; a dense arm that is not there is left out, with a notice.
            rerank: Whether the reranker, if there is one, orders the top.
            corpora: Names of the corpora to search; all of the index if empty.
        """
        notices: list[tuple[str, str]] = []
        allowed = self._allowed(corpora)
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
            candidates = _fuse(words, dense.search(vector, pool, allowed), mode)
            self._complete(candidates, reading.searched, vector, dense)
            notices.extend(self._notices)
            if dense.failure is not None:
                notices.append(("exact_search", _exact_message(dense.failure)))
        if rerank and self._reranker is not None:
            self._rerank(candidates, query, self._reranker)
        evidence, gone = self._evidence(candidates, k)
        if gone:
            notices.append(
                ("stale_index", f"{gone} found passages are no longer in the corpus. {REBUILD}")
            )
        coverage = self._words.coverage(query, candidates.order[:k])
        return SearchResult(evidence, is_relevant(query, evidence, coverage), tuple(notices))

    def _allowed(self, corpora: Sequence[str]) -> NDArray[np.bool_] | None:
        import numpy as np

        if not corpora or set(self.manifest.corpora) <= set(corpora):
            return None
        wanted = set(corpora)
        return np.fromiter((i.split(":", 1)[0] in wanted for i in self._ids), bool, len(self._ids))

    def _by_words(self, query: str, k: int, allowed: NDArray[np.bool_] | None) -> _Candidates:
        hits = lexical.best(self._words.scores(query), k, allowed) if k else []
        return _Candidates(
            order=[position for position, _ in hits],
            bm25=dict(hits),
            bm25_rank={position: rank for rank, (position, _) in enumerate(hits, 1)},
        )

    def _complete(
        self, found: _Candidates, query: str, vector: NDArray[np.float32], dense: DenseIndex
    ) -> None:
        """Give every candidate the score of the arm that did not bring it."""
        lacking = [position for position in found.order if position not in found.dense]
        found.dense.update(zip(lacking, dense.cosines(vector, lacking), strict=True))
        scores = self._words.scores(query)
        for position in found.order:
            found.bm25.setdefault(position, float(scores[position]))

    def _rerank(self, found: _Candidates, query: str, reranker: PairScorer) -> None:
        head = found.order[: self._rerank_depth or reranker.depth]
        passages = self._store.get([self._ids[position] for position in head])
        head = [position for position in head if self._ids[position] in passages]
        texts = [_shown(passages[self._ids[position]]) for position in head]
        found.rerank = dict(zip(head, reranker.score(query, texts), strict=True))
        # Stable: equal scores keep the order of fusion. What was not scored follows.
        head = sorted(head, key=lambda position: -found.rerank[position])
        found.order = head + [p for p in found.order if p not in found.rerank]

    def _evidence(self, found: _Candidates, k: int) -> tuple[tuple[Evidence, ...], int]:
        """Return the first `k` candidates as evidence, and how many the store no longer has."""
        passages = self._store.get([self._ids[position] for position in found.order[:k]])
        items: list[Evidence] = []
        for position in found.order[:k]:
            passage = passages.get(self._ids[position])
            if passage is not None:
                items.append(Evidence(len(items) + 1, passage, found.scores(position)))
        return tuple(items), min(k, len(found.order)) - len(items)


def _fuse(words: _Candidates, nearest: list[tuple[int, float]], mode: Mode) -> _Candidates:
    order = [position for position, _ in nearest]
    ranks = {position: rank for rank, position in enumerate(order, 1)}
    found = replace(words, order=order, dense=dict(nearest), dense_rank=ranks)
    if mode == "hybrid":
        fused = reciprocal_rank_fusion([words.order, order], [BM25_WEIGHT, DENSE_WEIGHT])
        found.order = [position for position, _ in fused]
        found.rrf = dict(fused)
    return found


def _shown(passage: Passage) -> str:
    return f"{passage.question or passage.title}\n{passage.text}"


def _spelling_message(reading: Reading) -> str:
    pairs = [f"{right} for {typed}" for typed, right in reading.corrections]
    return f"Read {', '.join(pairs)}."


def _exact_message(why: str) -> str:
    return f"Searching every vector instead of the fast index: {why}."
