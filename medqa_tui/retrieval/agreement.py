"""Whether an index holds what the store holds, told from both without a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.retrieval.manifest import IDS_FILE, IndexManifest


def corpus_of(id: str) -> str:
    """Return the corpus of a passage by its id."""
    return id.partition(":")[0]


class Difference(StrEnum):
    """How a corpus of the store differs from that of an index, in words."""

    REMOVED = "was removed"
    ADDED = "is not in it yet"
    CHANGED = "has changed"


def differences(manifest: IndexManifest, store: CorpusStore) -> dict[str, Difference]:
    """Return the corpora that are otherwise in the store than in an index, by name, sorted."""
    indexed, now = manifest.corpora, store.fingerprints(manifest.requested)
    found = {}
    for name in sorted(indexed.keys() | now.keys()):
        if name not in now:
            found[name] = Difference.REMOVED
        elif name not in indexed:
            found[name] = Difference.ADDED
        elif now[name] != indexed[name]:
            found[name] = Difference.CHANGED
    return found


def corpus_changes(manifest: IndexManifest, store: CorpusStore) -> list[str]:
    """Return in words in what the corpora of the store are not those of an index."""
    return [
        f"the corpus {name} {'was added' if how is Difference.ADDED else how}"
        for name, how in differences(manifest, store).items()
    ]


def fingerprints_of(store: CorpusStore, ids: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints that the corpora would have with no passages but these.

    Args:
        ids: Corpus by corpus, each in the order of the store; what the store lacks is left out.
    """
    found = {}
    for name, own in groupby(ids, corpus_of):
        digest, stored = hashlib.sha256(), store.hashes(name)
        for id in own:
            # Both are in one order, so that each row is read once.
            content = next((content for other, content in stored if other == id), None)
            if content is None:
                break
            digest.update(content.encode())
        found[name] = digest.hexdigest()
    return found


def holds_removed(folder: Path, manifest: IndexManifest, store: CorpusStore) -> bool:
    """Say whether an index holds a passage that the store lacks, or has otherwise by now.

    An index that only lacks what is new holds none.
    """
    if not differences(manifest, store):
        return False
    try:
        ids = json.loads((manifest.folder(folder) / IDS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    now, nothing = fingerprints_of(store, ids), hashlib.sha256().hexdigest()
    return any(now.get(name, nothing) != then for name, then in manifest.corpora.items())
