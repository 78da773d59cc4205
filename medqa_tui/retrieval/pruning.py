"""Removed passages leave every index on the disk, also those whose model is not loaded.

An index is made anew out of the vectors that it, or another index of the same model, has already:
nothing is embedded. Where another index has the vectors of what is new, it is up to date then;
else it lacks what is new until its own model builds it, and says so when it is searched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from medqa_tui.corpus.record import Progress
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval.agreement import differences, holds_removed
from medqa_tui.retrieval.index import index_lock
from medqa_tui.retrieval.lexical import NothingToIndexError
from medqa_tui.retrieval.manifest import MANIFEST_NAME, IndexManifest, Storage


def due_indexes(folder: Path, store: CorpusStore) -> list[Path]:
    """Return those of the indexes below `folder` that `prune_index` would change."""
    folders = sorted(folder.iterdir()) if folder.is_dir() else []
    return [each for each in folders if each.is_dir() and _is_due(each, store)]


def has_removed(folder: Path, store: CorpusStore) -> bool:
    """Say whether an index below `folder` holds what the store lacks, or has otherwise by now."""
    found = ((path.parent, _manifest(path.parent)) for path in folder.glob(f"*/{MANIFEST_NAME}"))
    return any(manifest and holds_removed(each, manifest, store) for each, manifest in found)


def is_behind(folder: Path, store: CorpusStore) -> bool:
    """Say whether the index in `folder` is not of the corpora as they are in the store."""
    manifest = _manifest(folder)
    return manifest is None or bool(differences(manifest, store))


def prune_index(folder: Path, store: CorpusStore, on_progress: Progress | None = None) -> None:
    """Make the index in `folder` hold nothing that the store lacks, without its model.

    An index that cannot be read, and so cannot be searched, is deleted. Of a build that was killed
    the vectors are taken over.

    Args:
        on_progress: Called with (texts, texts in all).

    Raises:
        MedQAError: Another process builds this index, or the disk refuses.
    """
    from medqa_tui.retrieval.building import Build, planned_model

    with index_lock(folder):
        manifest = _manifest(folder)
        model = manifest.embedder if manifest else planned_model(folder)
        requested = manifest.requested if manifest else ()
        there = store.fingerprints()
        corpora = tuple(name for name in requested if name in there)
        if model is None or (requested and not corpora):
            _discard(folder)
            return
        storage: Storage = manifest.storage if manifest else "float32"
        try:
            Build(store, model, folder, corpora, storage).run(on_progress)
        except NothingToIndexError:
            _discard(folder)


def _is_due(folder: Path, store: CorpusStore) -> bool:
    manifest = _manifest(folder)
    if manifest is None:
        return any(_parts(folder, None))
    if any(_parts(folder, manifest)) or holds_removed(folder, manifest, store):
        return True
    return bool(differences(manifest, store)) and _has_model_in_common(folder, manifest, store)


def _has_model_in_common(folder: Path, manifest: IndexManifest, store: CorpusStore) -> bool:
    """Say whether an index of the same model is up to date, so that its vectors will do."""
    for path in folder.parent.glob(f"*/{MANIFEST_NAME}"):
        other = _manifest(path.parent)
        if (
            path.parent != folder
            and other is not None
            and not other.embedder.differences(manifest.embedder)
            and not differences(other, store)
        ):
            return True
    return False


def _manifest(folder: Path) -> IndexManifest | None:
    try:
        return IndexManifest.read(folder)
    except MedQAError:
        return None


def _parts(folder: Path, manifest: IndexManifest | None) -> Iterator[Path]:
    """Yield what lies in `folder` beside the index in use: of builds that were killed."""
    from medqa_tui.retrieval.building import GENERATION, WORK

    for path in folder.iterdir():
        is_part = path.name == WORK or path.name.startswith(GENERATION)
        if is_part and (manifest is None or path.name != manifest.generation):
            yield path


def _discard(folder: Path) -> None:
    # The list of the files goes first: without it none of them is ever opened.
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    for path in list(_parts(folder, None)):
        shutil.rmtree(path)
