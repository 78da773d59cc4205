"""Repositories that a hub of the tests serves, and what can be wrong with their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import Fault, Kind

LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".gguf", ".h5", ".onnx", ".parquet"}


@dataclass(slots=True)
class File:
    """A file at a commit; `sha256` where the hub keeps it by git-lfs, git's own hash beside it."""

    path: Path
    size: int
    oid: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(slots=True)
class Repo:
    """A repository: its files at each commit, and the branches."""

    id: str
    kind: str
    gated: bool
    info: dict[str, Any]
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """Return the hash that a branch or a commit's hash stands for."""
        return revision if revision in self.commits else self.refs.get(revision)

    def row(self, commit: str) -> dict[str, Any]:
        """Return what the hub tells of the repository."""
        row = {
            "id": self.id,
            "modelId": self.id,
            "sha": commit,
            "gated": "manual" if self.gated else False,
            "private": False,
            "disabled": False,
            "downloads": 7,
            "likes": 1,
            "tags": [],
            "siblings": [{"rfilename": name} for name in self.commits[commit]],
        }
        return row | self.info

    def tree(self, commit: str, below: str = "", *, deep: bool = True) -> list[dict[str, Any]]:
        """Return what the hub tells of the files below a folder, or of all."""
        prefix = f"{below}/" if below else ""
        rows: list[dict[str, Any]] = []
        for name, file in self.commits[commit].items():
            if not name.startswith(prefix):
                continue
            if not deep and "/" in name.removeprefix(prefix):
                continue
            row = {"type": "file", "path": name, "size": file.size, "oid": file.oid}
            if file.sha256 is not None:
                size = len(pointer_text(file.sha256, file.size))
                row["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": size}
            rows.append(row)
        return rows


def file_of(path: Path) -> File:
    """Return a file as the hub would keep it: large kinds by git-lfs."""
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    lfs = path.suffix in LFS_SUFFIXES and not data.startswith(b"version https://git-lfs")
    return File(path, len(data), blob, hashlib.sha256(data).hexdigest() if lfs else None)


def pointer_text(sha256: str, size: int) -> bytes:
    """Return what git keeps in place of a large file."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return text.encode()


def spoilt(data: bytes, file: File, fault: Fault | None) -> bytes:
    """Return what is sent in place of `data`."""
    match fault.kind if fault is not None else None:
        case Kind.WRONG_BYTES:
            return data[:-1] + bytes([data[-1] ^ 1])
        case Kind.POINTER:
            return pointer_text(file.sha256 or file.oid, file.size)
        case Kind.TRUNCATED:
            assert fault is not None
            return data[: int(len(data) * fault.fraction)]
        case _:
            return data
