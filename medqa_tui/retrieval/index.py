"""Building an index beside the one in use, and saying what is wrong with one.

A folder holds `manifest.json` and the generation that it names. A build works in `build/`, keeps
its embeddings there in shards, and ends with one atomic replacement of the manifest: killed at any
moment, the old index stays in use and the next run embeds only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui import paths
from medqa_tui.corpus.record import Progress
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import disk_error, sha256_file, sync_folder, sync_tree, write_atomic
from medqa_tui.retrieval import dense, lexical
from medqa_tui.retrieval.embedder import EmbedderIdentity, TextEmbedder
from medqa_tui.retrieval.manifest import (
    REBUILD,
    SCHEMA_VERSION,
    Bm25Parameters,
    HnswParameters,
    IndexFile,
    IndexManifest,
)
from medqa_tui.retrieval.probe import probe_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IndexManifest", "build_index", "verify_index"]

IDS_FILE = "ids.json"
OWNERS_FILE = "owners.npy"
VECTORS_FILE = "vectors.npy"
HNSW_FILE = "hnsw.bin"
SHARD = 512

_BUILD = "build"
_LOCK = "build.lock"
_GENERATION = "generation-"


def build_index(
    store: CorpusStore,
    embedder: TextEmbedder,
    folder: Path,
    on_progress: Progress | None = None,
    corpora: Sequence[str] = (),
) -> IndexManifest:
    """Build the index of `corpora` (all of the store if none is named) in `folder`.

    Args:
        on_progress: Called with (texts embedded, texts in all).

    Raises:
        MedQAError: There is nothing to index, another process is building it, the store changed
            meanwhile, or the disk refuses.
    """
    from filelock import FileLock, Timeout

    paths.ensure(folder)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return _Build(store, embedder, folder, tuple(corpora)).run(on_progress)
    except Timeout as error:
        raise MedQAError(
            "Another process is building this index.", f"{folder}.", "Wait until it is done."
        ) from error
    except OSError as error:
        raise disk_error(error, folder) from error


def verify_index(
    folder: Path,
    store: CorpusStore | None = None,
    embedder: TextEmbedder | EmbedderIdentity | None = None,
) -> list[str]:
    """Return why the index in `folder` must be rebuilt, each reason in words; empty if it is fine.

    Every file is hashed. The corpora and the embedder are compared where they are given.
    """
    try:
        manifest = IndexManifest.read(folder)
    except MedQAError as error:
        return [f"{error.title} {error.detail}".strip()]
    reasons = manifest.file_problems(folder)
    if store is not None:
        reasons += _corpus_changes(manifest, store)
    if embedder is not None:
        identity = embedder if isinstance(embedder, EmbedderIdentity) else embedder.identity
        reasons += manifest.embedder.differences(identity)
    return reasons


def _corpus_changes(manifest: IndexManifest, store: CorpusStore) -> list[str]:
    now = store.fingerprints(manifest.requested)
    reasons = []
    for name in sorted(manifest.corpora.keys() | now.keys()):
        if name not in now:
            reasons.append(f"the corpus {name} was removed")
        elif name not in manifest.corpora:
            reasons.append(f"the corpus {name} was added")
        elif now[name] != manifest.corpora[name]:
            reasons.append(f"the corpus {name} has changed")
    return reasons


@dataclass(frozen=True, slots=True)
class _Layout:
    """Passages and the vectors that they own."""

    ids: list[str]
    owners: NDArray[np.int32]
    words: lexical.LexicalIndex


class _Build:
    """One run of a build, in `folder`/build until its last step."""

    def __init__(
        self,
        store: CorpusStore,
        embedder: TextEmbedder,
        folder: Path,
        corpora: tuple[str, ...],
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.folder = folder
        self.corpora = corpora
        self.work = folder / _BUILD
        self.shards = self.work / "shards"
        self.out = self.work / "out"

    def run(self, on_progress: Progress | None) -> IndexManifest:
        fingerprints = self.store.fingerprints(self.corpora)
        missing = sorted(set(self.corpora) - fingerprints.keys())
        if missing:
            raise MedQAError(
                "There is no such corpus.",
                f"{', '.join(missing)}. There are: {', '.join(self.store.fingerprints())}.",
                "Leave the name out to index every corpus.",
            )
        layout = self._layout()
        self._resume_or_start(fingerprints, len(layout.owners))
        self._embed(len(layout.owners), on_progress)
        if self.store.fingerprints(self.corpora) != fingerprints:
            raise MedQAError(
                "The passages changed while they were being indexed.",
                f"{self.store.path}.",
                REBUILD,
            )
        hnsw_reason = self._assemble(layout)
        return self._install(fingerprints, layout, hnsw_reason)

    def _layout(self) -> _Layout:
        import numpy as np

        ids: list[str] = []
        owners: list[int] = []

        def texts() -> Iterator[str]:
            for position, record in enumerate(self.store.records(self.corpora)):
                ids.append(record.passage.id)
                owners.extend([position] * len(record.dense_texts))
                yield record.lexical_text

        words = lexical.LexicalIndex.build(texts())
        return _Layout(ids, np.asarray(owners, dtype=np.int32), words)

    def _resume_or_start(self, fingerprints: dict[str, str], vectors: int) -> None:
        """Keep the shards of a killed build if they are of this very work, else drop them."""
        plan = json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "embedder": asdict(self.embedder.identity),
                "corpora": fingerprints,
                "vectors": vectors,
                "shard": SHARD,
            },
            sort_keys=True,
        ).encode()
        path = self.work / "plan.json"
        try:
            kept = path.read_bytes() == plan
        except OSError:
            kept = False
        if not kept:
            shutil.rmtree(self.work, ignore_errors=True)
            paths.ensure(self.shards)
            write_atomic(path, plan)
        shutil.rmtree(self.out, ignore_errors=True)
        paths.ensure(self.out)

    def _embed(self, total: int, on_progress: Progress | None) -> None:
        import numpy as np

        texts = (text for record in self.store.records(self.corpora) for text in record.dense_texts)
        for start in range(0, total, SHARD):
            part = list(islice(texts, SHARD))
            path = self._shard(start)
            if not self._shard_is_whole(path, len(part)):
                vectors = self.embedder.encode(part)
                temporary = path.with_suffix(".tmp")
                with temporary.open("wb") as file:
                    np.save(file, vectors, allow_pickle=False)
                _sync_and_rename(temporary, path)
            if on_progress is not None:
                on_progress(min(start + SHARD, total), total)

    def _shard(self, start: int) -> Path:
        return self.shards / f"{start:09d}.npy"

    def _shard_is_whole(self, path: Path, count: int) -> bool:
        import numpy as np

        try:
            kept = np.load(path, allow_pickle=False, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return bool(kept.shape == (count, self.embedder.identity.dimension))

    def _assemble(self, layout: _Layout) -> str:
        """Write every file into `out`; return why there is no graph, if there is none."""
        import numpy as np

        total, dimension = len(layout.owners), self.embedder.identity.dimension
        vectors = np.lib.format.open_memmap(
            self.out / VECTORS_FILE, mode="w+", dtype=np.float32, shape=(total, dimension)
        )
        for start in range(0, total, SHARD):
            vectors[start : start + SHARD] = np.load(self._shard(start), allow_pickle=False)
        vectors.flush()
        np.save(self.out / OWNERS_FILE, layout.owners, allow_pickle=False)
        (self.out / IDS_FILE).write_text(json.dumps(layout.ids), encoding="utf-8")
        layout.words.save(self.out)
        probe = probe_once(self.folder)
        if not probe.ok:
            return probe.reason
        try:
            dense.build_hnsw(vectors, self.out / HNSW_FILE)
        except (RuntimeError, ImportError) as error:
            (self.out / HNSW_FILE).unlink(missing_ok=True)
            return str(error)
        return ""

    def _install(
        self, fingerprints: dict[str, str], layout: _Layout, hnsw_reason: str
    ) -> IndexManifest:
        sync_tree(self.out)
        files = tuple(
            IndexFile(path.name, path.stat().st_size, sha256_file(path))
            for path in sorted(self.out.iterdir())
        )
        digest = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
        # The random part keeps an old generation readable while the new one moves in.
        generation = f"{_GENERATION}{digest[:8]}-{secrets.token_hex(3)}"
        manifest = IndexManifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            requested=self.corpora,
            corpora=fingerprints,
            embedder=self.embedder.identity,
            passages=len(layout.ids),
            vectors=len(layout.owners),
            generation=generation,
            files=files,
            bm25=Bm25Parameters(lexical.K1, lexical.B, lexical.METHOD, lexical.STEMMER),
            hnsw=None if hnsw_reason else HnswParameters(dense.M, dense.EF_CONSTRUCTION),
            hnsw_reason=hnsw_reason,
        )
        self.out.rename(self.folder / generation)
        sync_folder(self.folder)
        manifest.write(self.folder)
        # Only now is nothing else needed; a reader that still maps an old file keeps it.
        shutil.rmtree(self.work, ignore_errors=True)
        for old in self.folder.glob(f"{_GENERATION}*"):
            if old.name != generation:
                shutil.rmtree(old, ignore_errors=True)
        return manifest


def _sync_and_rename(temporary: Path, path: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
