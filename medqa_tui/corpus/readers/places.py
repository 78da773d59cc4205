"""The files of a source: one file, a folder, or a zip archive, none outside of it."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medqa_tui.corpus.readers.base import BOMB, Entry, Reject
from medqa_tui.errors import UsageError

_MAX_RATIO = 200
_RATIO_FROM = 16 << 20
_MAX_MEMBERS = 1_000_000
_MAX_TOTAL = 8 << 30
_LINK = "a link that leads out of the source"


@contextmanager
def open_place(path: Path) -> Iterator[Iterator[Entry | Reject]]:
    """Yield the files at `path`, in the order of their names.

    Raises:
        UsageError: There is nothing, or the archive cannot be read.
    """
    if path.is_dir():
        yield _folder(path)
    elif not path.is_file():
        raise UsageError(
            "There is no such file or folder:", f"{path}.", "Check the path, then try again."
        )
    elif path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                yield _members(archive)
        except zipfile.BadZipFile as error:
            raise UsageError(
                "This is no zip archive, or it is damaged:",
                f"{path}.",
                "Fetch or make it again, then try again.",
            ) from error
    else:
        yield iter([_file(path, path.name)])


def _file(path: Path, name: str) -> Entry:
    return Entry(name, path.stat().st_size, lambda: path.open("rb"), path)


def _folder(root: Path) -> Iterator[Entry | Reject]:
    inside = root.resolve()
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                yield Reject(shown, 0, _LINK)
            elif not path.is_file():
                yield Reject(shown, 0, "not a file")
            else:
                yield _file(path, shown)


def _members(archive: zipfile.ZipFile) -> Iterator[Entry | Reject]:
    """Yield the members that can be trusted; none is ever written under its own name."""
    total = 0
    for number, member in enumerate(sorted(archive.infolist(), key=lambda each: each.filename)):
        if member.filename.endswith("/"):
            continue
        total += member.file_size
        reason = _fault(member)
        if number >= _MAX_MEMBERS or total > _MAX_TOTAL:
            yield Reject(member.filename, 0, BOMB)
            return
        if reason:
            yield Reject(member.filename, 0, reason)
        elif not PurePosixPath(member.filename).name.startswith("."):
            yield _member(archive, member)


def _fault(member: zipfile.ZipInfo) -> str:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "a name that leads out of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link in an archive"
    if member.flag_bits & 1:
        return "locked by a password"
    if member.file_size > max(_RATIO_FROM, member.compress_size * _MAX_RATIO):
        return BOMB
    return ""


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
    # `zipfile` gives no more bytes than the archive's own list says.
    return Entry(member.filename, member.file_size, lambda: cast(BinaryIO, archive.open(member)))
