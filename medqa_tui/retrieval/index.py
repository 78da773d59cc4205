"""The search index of a folder: building it, and saying what is wrong with one.

A folder holds `manifest.json` and the generation that it names. A build works in `build/`, keeps
its embeddings there in shards, and ends with one atomic replacement of the manifest: killed at any
moment, the old index stays in use and the next run embeds only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medqa_tui import paths
from medqa_tui.corpus.record import Progress
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import disk_error
from medqa_tui.retrieval.agreement import corpus_changes
from medqa_tui.retrieval.embedder import EmbedderIdentity, TextEmbedder
from medqa_tui.retrieval.manifest import IndexManifest, Storage

__all__ = ["IndexManifest", "build_index", "verify_index"]

_LOCK = "build.lock"


def build_index(
    store: CorpusStore,
    embedder: TextEmbedder,
    folder: Path,
    on_progress: Progress | None = None,
    corpora: Sequence[str] = (),
    *,
    storage: Storage = "float32",
) -> IndexManifest:
    """Build the index of `corpora` (all of the store if none is named) in `folder`.

    A text that the index in use holds already, embedded by the same model, is not embedded again.

    Args:
        on_progress: Called with (texts that have their vector, texts in all).
        storage: How the vectors are kept for searching.

    Raises:
        MedQAError: There is nothing to index, another process is building it, the store changed
            meanwhile, or the disk refuses.
    """
    from medqa_tui.retrieval.building import Build

    with index_lock(paths.ensure(folder)):
        return Build(store, embedder, folder, tuple(corpora), storage).run(on_progress)


@contextmanager
def index_lock(folder: Path) -> Iterator[None]:
    """Be the one that changes the index in `folder`; what the disk refuses is said.

    Raises:
        MedQAError: Another process is at it, or the disk refuses.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise MedQAError(
            "Another process is building this index.", f"{folder}.", "Wait until it is done."
        ) from error
    except OSError as error:
        raise disk_error(error, folder, "medqa-tui index build") from error


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
        reasons += corpus_changes(manifest, store)
    if embedder is not None:
        identity = embedder if isinstance(embedder, EmbedderIdentity) else embedder.identity
        reasons += manifest.embedder.differences(identity)
    return reasons
