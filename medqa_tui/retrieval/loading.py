"""Opening the parts of an index, and what is done where one of them is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.retrieval.dense import DenseIndex, load_graph
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

Notices = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The lexical arm: ids of the passages by position, and the word index over them."""

    ids: list[str]
    index: LexicalIndex
    notices: Notices = ()


def load_words(folder: Path, manifest: IndexManifest, store: CorpusStore) -> Words:
    """Open the lexical arm; where its files are damaged it is made anew, in memory.

    Raises:
        MedQAError: They are damaged, and the corpora are no longer those of the index.
    """
    problems = manifest.file_problems(folder, (*FILES, IDS_FILE))
    if not problems:
        root = manifest.folder(folder)
        ids: list[str] = json.loads((root / IDS_FILE).read_text(encoding="utf-8"))
        return Words(ids, LexicalIndex.load(root))
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
    return Words(ids, index, (("damaged_index", message),))


def load_vocabulary(folder: Path, manifest: IndexManifest) -> Mapping[str, int]:
    """Return the words by which questions are read, and how often the corpora have them.

    Raises:
        MedQAError: The file is damaged.
    """
    manifest.require(folder, (WORDS_FILE,))
    text = (manifest.folder(folder) / WORDS_FILE).read_text(encoding="utf-8")
    words: dict[str, int] = json.loads(text)
    return words


def load_dense(folder: Path, manifest: IndexManifest) -> tuple[DenseIndex, Notices]:
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
