"""A home that can answer without any model: the starter cards, a word index, and the settings
that use only those. The places of the models are recorded as installed but hold nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medqa_tui.corpus.ingest import ingest_starter
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.models.active import Active
from medqa_tui.models.catalog import Component, Profile, get_profile
from medqa_tui.models.files import write_atomic
from medqa_tui.models.records import InstallRecord
from medqa_tui.paths import Paths, ensure
from medqa_tui.retrieval.embedder import EmbedderIdentity
from medqa_tui.retrieval.index import build_index

CONFIG = """
[answer]
generator = "extractive"

[retrieval]
mode = "bm25"
"""


class CountingEmbedder:
    """Vectors of letter counts: the index needs some, and a search by words looks at none."""

    def __init__(self, component: Component) -> None:
        self.identity = EmbedderIdentity(
            component.id, component.revision, "mean", "", 8, True, tuple(self._vector("canary"))
        )

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray([self._vector(text) for text in texts], dtype=np.float32)

    def encode_query(self, query: str) -> NDArray[np.float32]:
        return self.encode([query])[0]

    def knows(self, word: str) -> bool:
        return True

    @staticmethod
    def _vector(text: str) -> list[float]:
        counts = np.asarray([1 + text.count(letter) for letter in "aeioustn"], dtype=np.float64)
        return [float(x) for x in counts / np.linalg.norm(counts)]


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


def make(home: Path) -> Path:
    """Fill `home` and return it."""
    paths, profile = paths_of(home), get_profile("starter")
    ensure(paths.config)
    paths.config_file.write_text(CONFIG, encoding="utf-8")
    for component in profile.components:
        _record(paths, component)
    with CorpusStore(paths.corpora / "corpora.db") as store:
        ingest_starter(store)
        embedder = CountingEmbedder(profile.embedder)
        build_index(store, embedder, paths.indexes / profile.index)
    _activate(paths, profile)
    return home


def _record(paths: Paths, component: Component) -> None:
    import json
    from dataclasses import asdict

    folder = ensure(paths.models / component.name)
    record = InstallRecord.of_folder(folder, component)
    write_atomic(folder / "install.json", json.dumps(asdict(record)).encode())


def _activate(paths: Paths, profile: Profile) -> None:
    Active.of_profile(profile).write(paths)
