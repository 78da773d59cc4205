"""One run of an index build: what is embedded, what is taken over, and how it is put in use."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui import paths
from medqa_tui.corpus.record import PassageRecord, Progress
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import sha256_file, sync_folder, sync_tree, write_atomic
from medqa_tui.retrieval import dense, lexical
from medqa_tui.retrieval.agreement import fingerprints_of
from medqa_tui.retrieval.crowding import crowding_of
from medqa_tui.retrieval.embedder import EmbedderIdentity, TextEmbedder
from medqa_tui.retrieval.manifest import (
    CROWDING_FILE,
    IDS_FILE,
    KEYS_FILE,
    MANIFEST_NAME,
    OWNERS_FILE,
    REBUILD,
    SCHEMA_VERSION,
    VECTORS_FILE,
    WORDS_FILE,
    Bm25Parameters,
    GraphParameters,
    IndexFile,
    IndexManifest,
    Storage,
)
from medqa_tui.retrieval.probe import probe_once
from medqa_tui.retrieval.reading import count_words
from medqa_tui.retrieval.vectors import KnownVectors, key_array, text_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARD = 512
"""Texts embedded between two moments at which a kill loses nothing."""

WORK = "build"
GENERATION = "generation-"
_PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Passages, the keys of the texts that stand for them, and their words.

    Attributes:
        owners: Position of the passage of each text, int32, ascending.
    """

    ids: list[str]
    owners: NDArray[np.int32]
    keys: list[bytes]
    terms: lexical.LexicalIndex
    words: Counter[str]


class Build:
    """One run of a build, in `folder`/build until its last step.

    Args:
        embedder: Embeds what has no vector yet. Of a model that is not at hand the identity will
            do: nothing is embedded then, and passages that lack a vector are left out.
    """

    def __init__(
        self,
        store: CorpusStore,
        embedder: TextEmbedder | EmbedderIdentity,
        folder: Path,
        corpora: tuple[str, ...],
        storage: Storage,
    ) -> None:
        self.store = store
        self.embedder = None if isinstance(embedder, EmbedderIdentity) else embedder
        self.identity = embedder if isinstance(embedder, EmbedderIdentity) else embedder.identity
        self.folder = folder
        self.corpora = corpora
        self.storage = storage
        self.work = folder / WORK
        self.shards = self.work / "shards"
        self.out = self.work / "out"
        self.known = KnownVectors(self.identity.dimension)

    def run(self, on_progress: Progress | None) -> IndexManifest:
        """Build the index, put it in use, and return its manifest."""
        fingerprints = self.store.fingerprints(self.corpora)
        missing = sorted(set(self.corpora) - fingerprints.keys())
        if missing:
            raise MedQAError(
                "There is no such corpus.",
                f"{', '.join(missing)}. There are: {', '.join(self.store.fingerprints())}.",
                "Leave the name out to index every corpus.",
            )
        for manifest in sorted(self.folder.parent.glob(f"*/{MANIFEST_NAME}")):
            # What the indexes beside this one have serves as well; its own comes last and counts.
            if manifest.parent != self.folder:
                self._take_over(manifest.parent)
        self._take_over(self.folder)
        self._resume_or_start()
        layout = self._layout()
        self._embed(layout, on_progress)
        if self.store.fingerprints(self.corpora) != fingerprints:
            raise MedQAError(
                "The passages changed while they were being indexed.",
                f"{self.store.path}.",
                REBUILD,
            )
        graph, reason = self._assemble(layout)
        if self.embedder is None:
            fingerprints = fingerprints_of(self.store, layout.ids)
        return self._install(fingerprints, layout, graph, reason)

    def _layout(self) -> _Layout:
        import numpy as np

        ids: list[str] = []
        owners: list[int] = []
        keys: list[bytes] = []
        words: Counter[str] = Counter()

        def texts() -> Iterator[str]:
            for position, record in enumerate(self._records()):
                ids.append(record.passage.id)
                owners.extend([position] * len(record.dense_texts))
                keys.extend(map(text_key, record.dense_texts))
                count_words(record.passage, words)
                yield record.lexical_text

        terms = lexical.LexicalIndex.build(texts())
        return _Layout(ids, np.asarray(owners, dtype=np.int32), keys, terms, words)

    def _records(self) -> Iterator[PassageRecord]:
        """Yield the passages that are indexed."""
        for record in self.store.records(self.corpora):
            if self.embedder is not None or all(
                text_key(text) in self.known for text in record.dense_texts
            ):
                yield record

    def _take_over(self, folder: Path) -> None:
        """Know the vectors of an index in use, if the same model made them and they are whole."""
        import numpy as np

        try:
            manifest = IndexManifest.read(folder)
        except MedQAError:
            return
        if manifest.embedder.differences(self.identity):
            return
        if manifest.file_problems(folder, (VECTORS_FILE, KEYS_FILE)):
            return
        root = manifest.folder(folder)
        vectors = np.load(root / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
        self.known.add(np.load(root / KEYS_FILE, allow_pickle=False), vectors)

    def _resume_or_start(self) -> None:
        """Keep the shards of a killed build if the same model made them, else drop them."""
        plan = json.dumps(
            {"schema_version": SCHEMA_VERSION, "embedder": asdict(self.identity)},
            sort_keys=True,
        ).encode()
        path = self.work / _PLAN
        try:
            kept = path.read_bytes() == plan
        except OSError:
            kept = False
        if kept:
            self.known.add_shards(self.shards)
        else:
            shutil.rmtree(self.work, ignore_errors=True)
            paths.ensure(self.shards)
            write_atomic(path, plan)
        shutil.rmtree(self.out, ignore_errors=True)
        paths.ensure(self.out)

    def _embed(self, layout: _Layout, on_progress: Progress | None) -> None:
        """Embed every text whose vector is not known, each once."""
        total = len(layout.keys)
        lacking = {key for key in layout.keys if key not in self.known}
        done = sum(key not in lacking for key in layout.keys)
        if on_progress is not None:
            on_progress(done, total)
        part: dict[bytes, str] = {}

        def flush() -> None:
            nonlocal done
            assert self.embedder is not None
            vectors = self.embedder.encode(list(part.values()))
            self.known.save_shard(self.shards, list(part), vectors)
            done = min(total, done + len(part))
            part.clear()
            if on_progress is not None:
                on_progress(done, total)

        for record in self.store.records(self.corpora) if lacking else ():
            for text in record.dense_texts:
                key = text_key(text)
                if key in lacking:
                    lacking.discard(key)
                    part[key] = text
                    if len(part) == SHARD:
                        flush()
        if part:
            flush()
        if on_progress is not None and done != total:
            # Texts that occur twice were embedded once.
            on_progress(total, total)

    def _assemble(self, layout: _Layout) -> tuple[GraphParameters | None, str]:
        """Write every file into `out`; return the graph's parameters, or why there is none."""
        import numpy as np

        total, dimension = len(layout.keys), self.identity.dimension
        vectors = np.lib.format.open_memmap(
            self.out / VECTORS_FILE,
            mode="w+",
            dtype=np.float32 if self.storage == "float32" else np.float16,
            shape=(total, dimension),
        )
        for row, key in enumerate(layout.keys):
            try:
                vectors[row] = self.known[key]
            except KeyError as error:
                raise MedQAError(
                    "The passages changed while they were being indexed.",
                    f"{self.store.path}.",
                    REBUILD,
                ) from error
        vectors.flush()
        np.save(self.out / KEYS_FILE, key_array(layout.keys), allow_pickle=False)
        np.save(self.out / OWNERS_FILE, layout.owners, allow_pickle=False)
        first = np.searchsorted(layout.owners, np.arange(len(layout.ids)))
        figures = crowding_of(vectors, first, layout.ids)
        np.save(self.out / CROWDING_FILE, figures, allow_pickle=False)
        _write_json(self.out / IDS_FILE, layout.ids)
        _write_json(self.out / WORDS_FILE, layout.words)
        layout.terms.save(self.out)
        if self.storage == "float32":
            probe = probe_once(self.folder)
            if not probe.ok:
                return None, probe.reason
        return dense.build_graph(vectors, self.out, self.storage)

    def _install(
        self,
        fingerprints: dict[str, str],
        layout: _Layout,
        graph: GraphParameters | None,
        graph_reason: str,
    ) -> IndexManifest:
        sync_tree(self.out)
        files = tuple(
            IndexFile(path.name, path.stat().st_size, sha256_file(path))
            for path in sorted(self.out.iterdir())
        )
        digest = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
        # The random part keeps an old generation readable while the new one moves in.
        generation = f"{GENERATION}{digest[:8]}-{secrets.token_hex(3)}"
        manifest = IndexManifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            requested=self.corpora,
            corpora=fingerprints,
            embedder=self.identity,
            passages=len(layout.ids),
            vectors=len(layout.keys),
            storage=self.storage,
            generation=generation,
            files=files,
            bm25=Bm25Parameters(lexical.K1, lexical.B, lexical.METHOD, lexical.STEMMER),
            hnsw=graph,
            hnsw_reason=graph_reason,
        )
        self.out.rename(self.folder / generation)
        sync_folder(self.folder)
        manifest.write(self.folder)
        # Only now is nothing else needed; a reader that still maps an old file keeps it.
        shutil.rmtree(self.work, ignore_errors=True)
        for old in self.folder.glob(f"{GENERATION}*"):
            if old.name != generation:
                shutil.rmtree(old, ignore_errors=True)
        return manifest


def planned_model(folder: Path) -> EmbedderIdentity | None:
    """Return the model of a build in `folder` that was killed, if its work can be gone on with."""
    try:
        plan = json.loads((folder / WORK / _PLAN).read_bytes())
        known = plan["schema_version"] == SCHEMA_VERSION
        return EmbedderIdentity.from_row(plan["embedder"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
