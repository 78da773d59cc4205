"""Opening the parts of an index, and what is done where one of them is damaged.

A build puts a new generation in the place of the old one, whose files are gone from then on. Who
was opening them opens the new ones; who has them open goes on with what is in memory or mapped.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval.agreement import corpus_of
from medqa_tui.retrieval.dense import DenseIndex, load_graph
from medqa_tui.retrieval.embedder import TextEmbedder
from medqa_tui.retrieval.lexical import FILES, LexicalIndex
from medqa_tui.retrieval.manifest import (
    CROWDING_FILE,
    GRAPH_FILES,
    IDS_FILE,
    OWNERS_FILE,
    REBUILD,
    VECTORS_FILE,
    WORDS_FILE,
    IndexManifest,
)
from medqa_tui.retrieval.probe import probe_once
from medqa_tui.retrieval.reading import Reader

Notices = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """One generation of an index, as far as it was opened.

    Attributes:
        ids: Of the passages, by position.
        dense: The dense arm; None before an embedder is there.
        reader: Reads questions; None before an embedder is there.
        damage: What is wrong with its words, for who searches them.
        dense_damage: What is wrong with its vectors or graph.
    """

    folder: Path
    manifest: IndexManifest
    ids: list[str]
    words: LexicalIndex
    damage: Notices = ()
    dense: DenseIndex | None = None
    dense_damage: Notices = ()
    reader: Reader | None = None

    def with_dense(self, embedder: TextEmbedder) -> OpenIndex:
        """Return it with what an embedder searches."""
        reasons = self.manifest.embedder.differences(embedder.identity)
        if reasons:
            raise MedQAError(
                "The search index was made with another embedding model.",
                f"{'; '.join(reasons)}.",
                REBUILD,
            )
        dense, damage = self.dense, self.dense_damage
        if dense is None:
            dense, damage = _load_dense(self.folder, self.manifest)
        words = _load_vocabulary(self.folder, self.manifest)
        reader = Reader(words, embedder.knows, self.manifest.passages)
        return replace(self, dense=dense, dense_damage=damage, reader=reader)

    def positions(self, corpus: str) -> slice:
        """Return the positions of the passages of a corpus; they stand together, by its name."""
        return slice(
            bisect_left(self.ids, corpus, key=corpus_of),
            bisect_right(self.ids, corpus, key=corpus_of),
        )

    def was_replaced(self) -> bool:
        """Say whether another generation is in use by now."""
        return _was_replaced(self.folder, self.manifest)


def open_index(folder: Path, store: CorpusStore, embedder: TextEmbedder | None = None) -> OpenIndex:
    """Open the index in `folder`; without an embedder only its words.

    Where it is replaced meanwhile, the new one is opened.

    Raises:
        MedQAError: There is no index, a file of it is damaged, or the embedder is another one.
    """
    while True:
        manifest = IndexManifest.read(folder)
        try:
            opened = _load_words(folder, manifest, store)
            opened = opened.with_dense(embedder) if embedder else opened
        except (MedQAError, OSError):
            if not _was_replaced(folder, manifest):
                raise
        else:
            whole = not (opened.damage or opened.dense_damage)
            if whole or not opened.was_replaced():
                return opened


def with_embedder(index: OpenIndex, store: CorpusStore, embedder: TextEmbedder) -> OpenIndex:
    """Return `index` with what an embedder searches; where it was replaced, the one that is there.

    Raises:
        MedQAError: The vectors are damaged, or were made by another embedder.
    """
    if not index.was_replaced():
        try:
            opened = index.with_dense(embedder)
        except (MedQAError, OSError):
            if not index.was_replaced():
                raise
        else:
            if not (opened.dense_damage and index.was_replaced()):
                return opened
    return open_index(index.folder, store, embedder)


def _was_replaced(folder: Path, manifest: IndexManifest) -> bool:
    try:
        return IndexManifest.read(folder).generation != manifest.generation
    except MedQAError:
        return False


def _load_words(folder: Path, manifest: IndexManifest, store: CorpusStore) -> OpenIndex:
    """Open the lexical arm; where its files are damaged it is made anew, in memory.

    Raises:
        MedQAError: They are damaged, and the corpora are no longer those of the index.
    """
    problems = manifest.file_problems(folder, (*FILES, IDS_FILE))
    if not problems:
        root = manifest.folder(folder)
        ids: list[str] = json.loads((root / IDS_FILE).read_text(encoding="utf-8"))
        return OpenIndex(folder, manifest, ids, LexicalIndex.load(root))
    # The vectors are addressed by the place of their passage, so the passages must be the same.
    if store.fingerprints(tuple(manifest.corpora)) != manifest.corpora:
        manifest.require(folder, (*FILES, IDS_FILE))
    ids = []

    def texts() -> Iterator[str]:
        for record in store.records(tuple(manifest.corpora)):
            ids.append(record.passage.id)
            yield record.lexical_text

    index = LexicalIndex.build(texts())
    message = (
        f"The word index is damaged ({'; '.join(problems)}); it was made anew in memory. {REBUILD}"
    )
    return OpenIndex(folder, manifest, ids, index, (("damaged_index", message),))


def _load_vocabulary(folder: Path, manifest: IndexManifest) -> Mapping[str, int]:
    """Return the words by which questions are read, and how often the corpora have them.

    Raises:
        MedQAError: The file is damaged.
    """
    manifest.require(folder, (WORDS_FILE,))
    text = (manifest.folder(folder) / WORDS_FILE).read_text(encoding="utf-8")
    words: dict[str, int] = json.loads(text)
    return words


def _load_dense(folder: Path, manifest: IndexManifest) -> tuple[DenseIndex, Notices]:
    """Open the dense arm; without a graph that can be trusted every vector is looked at.

    Raises:
        MedQAError: The vectors are damaged.
    """
    import numpy as np

    manifest.require(folder, (VECTORS_FILE, OWNERS_FILE, CROWDING_FILE))
    root = manifest.folder(folder)
    vectors = np.load(root / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
    owners = np.load(root / OWNERS_FILE, allow_pickle=False)
    crowding = np.load(root / CROWDING_FILE, allow_pickle=False)
    graph, why_not = None, manifest.hnsw_reason
    if manifest.hnsw is not None:
        why_not = _why_not(folder, manifest)
        if not why_not:
            try:
                graph = load_graph(root, manifest.storage, *vectors.shape)
            except (RuntimeError, ImportError) as error:
                why_not = str(error)
    notices = () if graph is not None else (("exact_search", exact_message(why_not)),)
    return DenseIndex(vectors, owners, graph, crowding), notices


def _why_not(folder: Path, manifest: IndexManifest) -> str:
    problems = manifest.file_problems(folder, (GRAPH_FILES[manifest.storage],))
    if problems:
        return "; ".join(problems)
    if manifest.storage == "float32":
        probe = probe_once(folder)
        return "" if probe.ok else probe.reason
    return ""


def exact_message(why: str) -> str:
    """Return what the user is told while every vector is looked at."""
    return f"Searching every vector instead of the fast index: {why}."
