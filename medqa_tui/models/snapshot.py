"""What a repository holds at one commit, and whether a file on the disk is what it should be."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Self

from medqa_tui.errors import DownloadError, MedQAError
from medqa_tui.models.files import CHUNK, check_cancel

# These can run code while they are read.
PICKLES = frozenset(
    (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib")
)
RUN_CODE = PICKLES | {".py", ".so"}
WEIGHTS = ".safetensors"
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A file at a commit.

    Attributes:
        size: Bytes.
        sha256: Hash of its content, where the hub keeps it with git-lfs.
        blob: Git's own SHA-1 of it otherwise.
    """

    path: str
    size: int
    sha256: str | None
    blob: str

    @property
    def key(self) -> str:
        """A name that its content alone decides."""
        return self.sha256 or self.blob


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit.

    Attributes:
        revision: The commit's hash.
    """

    repo: str
    revision: str
    files: tuple[SnapshotFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the snapshot that `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            row = json.loads(text)
            files = tuple(SnapshotFile(**file) for file in row["files"])
            return cls(str(row["repo"]), str(row["revision"]), files)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("no snapshot") from error


def wanted(path: str, allow: Sequence[str]) -> bool:
    """Say whether a file is to be fetched: it matches a pattern, and can run no code.

    `*` does not reach into folders, since they hold the same weights in other formats.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path:
        return False
    if parts.suffix.lower() in RUN_CODE:
        return False
    depth = path.count("/")
    return any(fnmatchcase(path, one) and one.count("/") == depth for one in allow)


def check_file(
    path: Path,
    file: SnapshotFile,
    on_bytes: Callable[[int], None] | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Check that `path` holds what the hub promised: no pointer, the size, the hash, whole tensors.

    Raises:
        DownloadError: Says what is wrong with it.
    """
    with path.open("rb") as opened:
        start = opened.read(len(_POINTER))
    if start == _POINTER:
        raise _wrong(
            "The hub sent a git-lfs pointer instead of the file itself.",
            f"{file.path}: {path.stat().st_size} bytes of text.",
        )
    size = path.stat().st_size
    if size != file.size:
        detail = f"{file.path}: {size} bytes instead of {file.size}."
        raise _wrong("A downloaded file is incomplete.", detail)
    found = _hash(path, file, on_bytes, cancel)
    if found != file.key:
        kind = "SHA-256" if file.sha256 else "git hash"
        detail = f"{file.path}: its {kind} is {found}, expected {file.key}."
        raise _wrong("A downloaded file is not what the hub promised.", detail)
    if path.suffix == WEIGHTS or file.path.endswith(WEIGHTS):
        check_weights(path, file.path)


def check_weights(path: Path, name: str) -> None:
    """Check that the table of a safetensors file agrees with its length.

    Raises:
        DownloadError: It does not.
    """
    from medqa_tui.models.tensors import read_tensors

    try:
        read_tensors(path)
    except MedQAError as error:
        detail = error.detail.partition(": ")[2] or error.detail
        raise _wrong(error.title, f"{name}: {detail}") from error


def _hash(
    path: Path,
    file: SnapshotFile,
    on_bytes: Callable[[int], None] | None,
    cancel: threading.Event | None,
) -> str:
    if file.sha256 is not None:
        digest = hashlib.sha256()
    else:
        # Not for security: it is what git calls the content.
        digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            check_cancel(cancel)
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


def _wrong(title: str, detail: str) -> DownloadError:
    # What to type depends on what the file is for; the caller knows that.
    return DownloadError(title, detail)
