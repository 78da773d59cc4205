"""Writing so that a power cut leaves the old file or the new one, and reading hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medqa_tui.errors import ExitCode, MedQAError

Progress = Callable[[int, int], None]

CHUNK = 1 << 20

# EFBIG is what a file size limit gives; for the user it is the same as a full disk.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAID_FULL = ("No space left", "File too large", "os error 28")


class Cancelled(MedQAError):
    """The user stopped a long step; what is finished stays and is used by the next run."""

    exit_code = ExitCode.INTERRUPTED


def check_cancel(cancel: threading.Event | None) -> None:
    """Raise `Cancelled` if the user asked to stop."""
    if cancel is not None and cancel.is_set():
        raise Cancelled(
            "Setup was interrupted.",
            "Nothing half-made is in use.",
            "medqa-tui setup (it goes on where it stopped)",
        )


def disk_error(error: OSError, folder: Path, again: str = "medqa-tui setup") -> MedQAError:
    """Return `error`, met while writing below `folder`, in words; `again` is typed to go on."""
    if is_disk_full(error):
        return MedQAError(
            "The disk is full.",
            f"{folder}: {error.strerror or error}.",
            f"Free some space, then type: {again}",
        )
    return MedQAError(
        "A file could not be written.",
        f"{error.filename or folder}: {error.strerror or error}.",
        "Check the permissions of that folder, or set MEDQA_HOME to a folder of yours.",
    )


@contextmanager
def in_words(folder: Path, again: str) -> Iterator[None]:
    """Put an error of the disk, met while reading or writing for `folder`, in words.

    Raises:
        MedQAError: There was one; after a full disk, `again` is typed to go on.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_error(error, folder, again) from error
        detail = f"{error.filename or folder}: {error.strerror or error}."
        raise MedQAError("A file could not be read or written.", detail) from error


def is_disk_full(error: Exception) -> bool:
    """Say whether `error` means that nothing more can be written, whichever library says so."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    # safetensors and hnswlib report it in errors of their own.
    return any(said in str(error) for said in _SAID_FULL)


def sha256_file(
    path: Path, on_progress: Progress | None = None, cancel: threading.Event | None = None
) -> str:
    """Return the hex SHA-256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            check_cancel(cancel)
            digest.update(chunk)
            done += len(chunk)
            if on_progress is not None:
                on_progress(done, total)
    return digest.hexdigest()


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data` in one step that survives a power cut."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def link_or_copy(source: str, target: str) -> str:
    """Give a file a second name where that is possible, and copy it elsewhere."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
    return target


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries to disk, where the system can."""
    with suppress(OSError):  # Windows cannot open a folder.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
