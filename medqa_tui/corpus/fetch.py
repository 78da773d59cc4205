"""Fetching a built-in data set: an archive at a pinned commit, or files of the model hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medqa_tui import __version__
from medqa_tui.corpus.git_tree import tree_hash
from medqa_tui.corpus.sources import Archive, Builtin
from medqa_tui.errors import DownloadError
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.files import check_cancel, disk_error
from medqa_tui.paths import Paths, ensure

_TIMEOUT_SECONDS = 30.0
# Far more than any archive that is known by name.
_MAX_ARCHIVE = 1 << 30

Report = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all, or 0 where that is not known)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A data set on this machine, and the revision that it is."""

    path: Path
    revision: str


def fetch(
    builtin: Builtin,
    paths: Paths,
    on_progress: Report | None = None,
    cancel: threading.Event | None = None,
) -> Fetched:
    """Bring `builtin` into the cache and return where it lies.

    Raises:
        DownloadError: It cannot be reached, or what arrived is something else.
        MedQAError: The disk is full, or cannot be written.
        Cancelled: `cancel` was set.
    """
    folder = _folder(paths, builtin.name)
    if isinstance(builtin.place, HubSource):
        from medqa_tui.models.hub import download_snapshot

        try:
            found = download_snapshot(
                builtin.place,
                folder,
                lambda each: on_progress(each.done, each.total) if on_progress else None,
                cancel,
                again=f"medqa-tui corpus add {builtin.name}",
            )
        except DownloadError as error:
            raise DownloadError(error.title, error.detail, _or_from(builtin, error.hint)) from error
        return Fetched(folder, found.revision)
    ensure(folder)
    archive = folder / f"{builtin.place.commit}.zip"
    if not (archive.is_file() and tree_hash(archive) == builtin.place.tree):
        _download(builtin, builtin.place, archive, on_progress, cancel)
    return Fetched(archive, builtin.place.commit)


def forget(paths: Paths, name: str) -> None:
    """Delete whatever was fetched of a data set."""
    from medqa_tui.models.hub import remove_download

    remove_download(_folder(paths, name))


def _folder(paths: Paths, name: str) -> Path:
    return ensure(paths.cache / "corpora") / name


def _or_from(builtin: Builtin, hint: str = "") -> str:
    otherwise = (
        f"Fetch it elsewhere ({builtin.homepage}), then type: "
        f"medqa-tui corpus add {builtin.name} --from FILE"
    )
    return f"{hint} Or: {otherwise}" if hint else otherwise


def _download(
    builtin: Builtin,
    archive: Archive,
    into: Path,
    on_progress: Report | None,
    cancel: threading.Event | None,
) -> None:
    import httpx2

    partial = into.with_suffix(".partial")
    try:
        _stream(archive.url, partial, on_progress, cancel)
    except httpx2.HTTPStatusError as error:
        raise DownloadError(
            "The data set could not be fetched.",
            f"{archive.url}: the server said {error.response.status_code}.",
            _or_from(builtin),
        ) from error
    except httpx2.HTTPError as error:
        raise DownloadError(
            "The data set could not be fetched.",
            f"{archive.url}: {error or type(error).__name__}.",
            _or_from(builtin),
        ) from error
    except OSError as error:
        raise disk_error(error, into.parent, f"medqa-tui corpus add {builtin.name}") from error
    if tree_hash(partial) != archive.tree:
        partial.unlink()
        raise DownloadError(
            "What arrived is not the data set.",
            f"{archive.url}: its files are not those of commit {archive.commit[:12]}.",
            _or_from(builtin),
        )
    partial.replace(into)


def _stream(
    url: str, partial: Path, on_progress: Report | None, cancel: threading.Event | None
) -> None:
    import httpx2

    agent = {"user-agent": f"medqa-tui/{__version__}"}
    with (
        httpx2.stream(
            "GET", url, follow_redirects=True, timeout=_TIMEOUT_SECONDS, headers=agent
        ) as reply,
        partial.open("wb") as file,
    ):
        reply.raise_for_status()
        total, done = int(reply.headers.get("content-length") or 0), 0
        for piece in reply.iter_bytes():
            check_cancel(cancel)
            done += file.write(piece)
            if done > _MAX_ARCHIVE:
                raise httpx2.TransportError("far more arrives than was announced")
            if on_progress is not None:
                on_progress(done, total)
        file.flush()
        os.fsync(file.fileno())
