"""What an index was made from and with, kept beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from medqa_tui.errors import MedQAError
from medqa_tui.models.files import sha256_file, write_atomic
from medqa_tui.retrieval.embedder import EmbedderIdentity

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 2
"""Goes up whenever the files, the tokenizer or the embedded views of a passage change."""

REBUILD = "Type: medqa-tui index build"

Storage = Literal["float32", "int8"]
"""How vectors are kept for searching: whole, or rounded in the graph and halved on the disk."""

IDS_FILE = "ids.json"
OWNERS_FILE = "owners.npy"
VECTORS_FILE = "vectors.npy"
KEYS_FILE = "keys.npy"
CROWDING_FILE = "crowding.npy"
WORDS_FILE = "words.json"
GRAPH_FILES: dict[Storage, str] = {"float32": "hnsw.bin", "int8": "hnsw-int8.usearch"}


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of the index, by its name within the generation's folder."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """How the graph was built."""

    m: int
    ef_construction: int


@dataclass(frozen=True, slots=True)
class Bm25Parameters:
    """How the word index was built."""

    k1: float
    b: float
    method: str
    stemmer: str


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """An index: its files and everything that must agree before it is used.

    Attributes:
        created: ISO time (UTC).
        requested: The corpora that were asked for; empty means all of the store.
        corpora: Fingerprint of each corpus that is in it.
        vectors: Number of vectors; a passage has one or more.
        storage: How the vectors are kept.
        generation: Folder, beside the manifest, that holds the files.
        hnsw: None if the graph could not be built; then search is exact.
        hnsw_reason: Why it could not.
    """

    created: str
    requested: tuple[str, ...]
    corpora: Mapping[str, str]
    embedder: EmbedderIdentity
    passages: int
    vectors: int
    storage: Storage
    generation: str
    files: tuple[IndexFile, ...]
    bm25: Bm25Parameters
    hnsw: GraphParameters | None
    hnsw_reason: str = ""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the manifest of the index in `folder`.

        Raises:
            MedQAError: There is none, it cannot be understood, or another version wrote it.
        """
        path = folder / MANIFEST_NAME
        try:
            row = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise MedQAError("There is no search index.", f"{folder} is empty.", REBUILD) from error
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        version = row.get("schema_version") if isinstance(row, dict) else None
        if version != SCHEMA_VERSION:
            raise MedQAError(
                "The search index was made by another version of medqa-tui.",
                f"{path} has version {version}; this program knows {SCHEMA_VERSION}.",
                REBUILD,
            )
        try:
            return cls._from_row(row)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, f"{type(error).__name__} {error}") from error

    @classmethod
    def _from_row(cls, row: dict[str, Any]) -> Self:
        hnsw = row.pop("hnsw")
        manifest = cls(
            requested=tuple(row.pop("requested")),
            corpora=dict(row.pop("corpora")),
            embedder=EmbedderIdentity.from_row(row.pop("embedder")),
            files=tuple(IndexFile(**file) for file in row.pop("files")),
            bm25=Bm25Parameters(**row.pop("bm25")),
            hnsw=GraphParameters(**hnsw) if hnsw else None,
            **row,
        )
        if manifest.storage not in GRAPH_FILES:
            raise ValueError(f"vectors are kept as {manifest.storage!r}")
        names = (manifest.generation, *(file.name for file in manifest.files))
        if any(Path(name).name != name or name in {"", ".", ".."} for name in names):
            raise ValueError("a file name leads out of the folder")
        return manifest

    def write(self, folder: Path) -> None:
        """Put the manifest into `folder` in one atomic step: from then on the index is in use."""
        write_atomic(folder / MANIFEST_NAME, json.dumps(asdict(self), indent=1).encode() + b"\n")

    def folder(self, index: Path) -> Path:
        """Return the folder of the files, for the index in the folder `index`."""
        return index / self.generation

    def file_problems(self, index: Path, names: Iterable[str] = ()) -> list[str]:
        """Return which files (all, or those of `names`) are missing or changed, in words."""
        wanted = set(names)
        known = {file.name: file for file in self.files}
        found = [f"{name} is not part of the index" for name in sorted(wanted - known.keys())]
        for file in self.files:
            if wanted and file.name not in wanted:
                continue
            path = self.folder(index) / file.name
            try:
                size = path.stat().st_size
                if size != file.size:
                    found.append(f"{file.name} has {size} bytes instead of {file.size}")
                elif sha256_file(path) != file.sha256:
                    found.append(f"{file.name} was changed: its SHA-256 differs")
            except FileNotFoundError:
                found.append(f"{file.name} is missing")
            except OSError as error:
                found.append(f"{file.name} cannot be read: {error.strerror or error}")
        return found

    def require(self, index: Path, names: Iterable[str]) -> None:
        """Raise `MedQAError` unless each of `names` is there with the hash written down."""
        problems = self.file_problems(index, names)
        if problems:
            raise MedQAError(
                "The search index is damaged.", f"{index}: {'; '.join(problems)}.", REBUILD
            )


def _unreadable(path: Path, why: str) -> MedQAError:
    return MedQAError("The search index cannot be read.", f"{path}: {why}.", REBUILD)
