"""The child that downloads, run as `python -m medqa_tui.models.hub_worker JOB` by `models.hub`.

huggingface_hub 2 throws an interrupted file away, so the bytes are taken here: with its session,
its headers and its errors, in several files at once, each going on where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from medqa_tui.errors import DownloadError, ExitCode
from medqa_tui.models import hub_words
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.child import end_with_parent, error_message, speak_to_parent
from medqa_tui.models.files import Cancelled, check_cancel, sync_folder, sync_tree, write_atomic
from medqa_tui.models.hub import Patience, downloaded, note_file
from medqa_tui.models.snapshot import PICKLES, WEIGHTS, Snapshot, SnapshotFile, check_file, wanted
from medqa_tui.paths import ensure

_AT_ONCE = 4
_PIECE = 1 << 16
_SPOKEN_EVERY = 0.1

Tell = Callable[..., None]
T = TypeVar("T")


def main() -> int:
    """Download what the job names; returns the exit code of the process."""
    tell = speak_to_parent()
    os.umask(0o077)
    end_with_parent()
    job = json.loads(sys.argv[1])
    row = job["source"]
    source = HubSource(**{**row, "allow": tuple(row["allow"])})
    patience = Patience(**job["patience"])
    staging, into = Path(job["staging"]), Path(job["into"])
    try:
        run = _Run(source, staging, patience, tell)
        _publish(run.all(), staging, into)
    except Exception as error:
        said = hub_words.in_words(error, source, staging, job["again"])
        tell(**error_message(said))
        # Threads of other files may still wait for the hub.
        os._exit(int(ExitCode.FAILURE))
    tell(type="done")
    return 0


def _publish(snapshot: Snapshot, staging: Path, into: Path) -> None:
    """Make the verified files the target, in one step; what it is lies beside it before."""
    files = staging / "files"
    sync_tree(files)
    write_atomic(note_file(into), snapshot.to_json().encode())
    files.replace(into)
    sync_folder(into.parent)
    if downloaded(into) is None:
        raise OSError(errno.EIO, "what was written is not there", str(into))
    shutil.rmtree(staging, ignore_errors=True)


class _Run:
    """One download: the listing, then the files."""

    def __init__(self, source: HubSource, staging: Path, patience: Patience, tell: Tell) -> None:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        from medqa_tui import __version__

        self.source = source
        self.staging = staging
        self.patience = patience
        self.tell = tell
        self.stop = threading.Event()
        self.headers = build_hf_headers(library_name="medqa-tui", library_version=__version__)
        self.meter = _Meter(tell)

    def all(self) -> Snapshot:
        """Fetch and verify every file; returns what it is."""
        snapshot = self._listing()
        missing = [file for file in snapshot.files if not self._is_here(file)]
        left = {file.path: self._left(file) for file in missing}
        self.meter.begin(snapshot, left)
        self._check_room(sum(left.values()))
        # The largest first, so that none is left alone at the end.
        missing.sort(key=lambda file: -file.size)
        pool = ThreadPoolExecutor(_AT_ONCE)
        waiting = [pool.submit(self._fetch, snapshot, file) for file in missing]
        done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
        self.stop.set()
        failed = [error for each in done if (error := each.exception()) is not None]
        pool.shutdown(wait=not failed, cancel_futures=True)
        # What is wrong by itself says more than what was stopped because of it.
        failed.sort(key=lambda error: isinstance(error, Cancelled))
        if failed:
            raise failed[0]
        return snapshot

    # -- what there is ---------------------------------------------------------------------

    def _listing(self) -> Snapshot:
        """Return what to fetch: the commit of an interrupted run, or the revision's commit now."""
        note = self.staging / "snapshot.json"
        try:
            kept = Snapshot.from_json(note.read_text("utf-8"))
        except (OSError, ValueError):
            kept = None
        if kept is not None and self._is_of_source(kept):
            return kept
        shutil.rmtree(self.staging / "files", ignore_errors=True)
        self.tell(type="progress", message="Asking the model hub", done=0, total=0)
        commit = self.source.revision if self.source.is_pinned else self._commit()
        names = self._tree(commit)
        files = tuple(file for file in names if wanted(file.path, self.source.allow))
        self._require_weights(names, files)
        snapshot = Snapshot(self.source.repo, commit, files)
        write_atomic(note, snapshot.to_json().encode())
        return snapshot

    def _is_of_source(self, kept: Snapshot) -> bool:
        """Say whether an interrupted run fetched what this one is to fetch."""
        same = not self.source.is_pinned or kept.revision == self.source.revision
        asked = all(wanted(file.path, self.source.allow) for file in kept.files)
        return kept.repo == self.source.repo and same and asked

    def _commit(self) -> str:
        info = self._json(self._api(f"revision/{_quoted(self.source.revision)}")).json()
        commit = str(info.get("sha") or "")
        if not HubSource(self.source.repo, commit).is_pinned:
            raise DownloadError(
                "The model hub did not say which commit this is.",
                f"{self.source.repo}: {commit!r}.",
                "Check HF_ENDPOINT, if it is set: medqa-tui doctor",
            )
        return commit

    def _tree(self, commit: str) -> list[SnapshotFile]:
        url: str | None = self._api(f"tree/{commit}?recursive=true")
        found = []
        while url is not None:
            answer = self._json(url)
            for row in answer.json():
                if row["type"] == "file":
                    lfs = row.get("lfs") or {}
                    size = int(lfs.get("size", row["size"]))
                    found.append(SnapshotFile(row["path"], size, lfs.get("oid"), row["oid"]))
            # A long list comes in pages.
            url = answer.links.get("next", {}).get("url")
        return found

    def _require_weights(self, names: list[SnapshotFile], files: tuple[SnapshotFile, ...]) -> None:
        if files and not any(one == "*" or one.endswith(WEIGHTS) for one in self.source.allow):
            return
        if any(file.path.endswith(WEIGHTS) for file in files):
            return
        pickled = [file.path for file in names if Path(file.path).suffix in PICKLES]
        if pickled:
            title = "This model's weights are only there in a format that can run code."
            detail = f"{self.source.repo}: {pickled[0]} instead of safetensors."
        else:
            title = "This repository holds nothing that can be used here."
            detail = f"{self.source.repo}: no safetensors weights among {len(names)} files."
        raise DownloadError(title, detail, "Choose a model that is published as safetensors.")

    def _api(self, what: str) -> str:
        return f"{hub_words.endpoint()}/api/{self.source.kind}s/{self.source.repo}/{what}"

    def _json(self, url: str) -> Any:
        from huggingface_hub import get_session, hf_raise_for_status

        def ask() -> Any:
            answer = get_session().get(url, headers=self.headers, timeout=self.patience.timeout)
            hf_raise_for_status(answer)
            return answer

        return self._patiently(ask, lambda: False)

    # -- the files ---------------------------------------------------------------------------

    def _final(self, file: SnapshotFile) -> Path:
        return self.staging / "files" / file.path

    def _part(self, file: SnapshotFile) -> Path:
        # Two files of a repository may have the same content, and are fetched at once.
        place = hashlib.sha256(file.path.encode()).hexdigest()[:8]
        return self.staging / "parts" / f"{file.key}-{place}"

    def _is_here(self, file: SnapshotFile) -> bool:
        # A file gets its name only after it was verified.
        final = self._final(file)
        return final.is_file() and final.stat().st_size == file.size

    def _left(self, file: SnapshotFile) -> int:
        part = self._part(file)
        return file.size - min(part.stat().st_size if part.is_file() else 0, file.size)

    def _check_room(self, need: int) -> None:
        free = shutil.disk_usage(self.staging).free
        if free < need:
            words = f"{need // 1_000_000} MB are needed, {free // 1_000_000} MB are free"
            raise OSError(errno.ENOSPC, words, str(self.staging))

    def _fetch(self, snapshot: Snapshot, file: SnapshotFile) -> None:
        part = self._part(file)
        ensure(part.parent)
        resumed = part.is_file() and part.stat().st_size > 0
        for attempt in (0, 1):
            self._take(snapshot, file, part)
            try:
                check_file(part, file, self.meter.heartbeat, self.stop)
                break
            except DownloadError:
                part.unlink(missing_ok=True)
                self.meter.add(file, -file.size)
                # What an earlier run left may be at fault; a whole file of today is not forgiven.
                if attempt or not resumed:
                    raise
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        ensure(self._final(file).parent)
        part.replace(self._final(file))

    def _take(self, snapshot: Snapshot, file: SnapshotFile, part: Path) -> None:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(
            snapshot.repo, file.path, repo_type=self.source.kind, revision=snapshot.revision
        )
        before = [0]

        def moved() -> bool:
            now = part.stat().st_size if part.is_file() else 0
            further, before[0] = now > before[0], now
            return further

        self._patiently(lambda: self._stream(url, file, part), moved)

    def _stream(self, url: str, file: SnapshotFile, part: Path) -> None:
        """Append to `part` what is missing from it."""
        from huggingface_hub import get_session, hf_raise_for_status

        start = part.stat().st_size if part.is_file() else 0
        if start > file.size:
            part.unlink()
            start = 0
        if start == file.size and part.is_file():
            return
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream(
            "GET", url, headers=headers, timeout=self.patience.timeout
        ) as answer:
            hf_raise_for_status(answer)
            if start and answer.status_code != 206:
                # The hub, or something on the way, begins from the start.
                self.meter.add(file, -start)
                start = 0
            with part.open("ab" if start else "wb") as out:
                for piece in answer.iter_bytes(_PIECE):
                    check_cancel(self.stop)
                    out.write(piece)
                    start += len(piece)
                    self.meter.add(file, len(piece))
                    if start > file.size:
                        # `check_file` says what is wrong with it.
                        break

    def _patiently(self, step: Callable[[], T], moved: Callable[[], bool]) -> T:
        """Do `step` again while its failures are passing ones; any progress renews the patience."""
        tried = 0
        while True:
            try:
                return step()
            except Exception as error:
                tried = 0 if moved() else tried + 1
                limit = 1 if hub_words.is_out_of_reach(error) else self.patience.retries
                if not hub_words.is_passing(error) or tried > limit:
                    raise
                pause = self.patience.wait * 2 ** max(tried - 1, 0)
                pause = hub_words.asked_to_wait(error) or pause
                self.meter.say(f"The hub did not answer as it should; trying again ({tried})")
                if pause > self.patience.longest or self.stop.wait(pause):
                    raise


def _quoted(revision: str) -> str:
    from urllib.parse import quote

    return quote(revision, safe="")


class _Meter:
    """Bytes of all files and of each, told to the parent a few times a second."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._done = 0
        self._total = 0
        self._spoke = 0.0
        self._files: dict[str, int] = {}
        self._order: list[SnapshotFile] = []

    def begin(self, snapshot: Snapshot, left: dict[str, int]) -> None:
        self._total, self._done = snapshot.size, snapshot.size - sum(left.values())
        self._files = {file.path: file.size - left.get(file.path, 0) for file in snapshot.files}
        self._order = sorted(snapshot.files, key=lambda file: -file.size)
        self.say("Downloading")

    def add(self, file: SnapshotFile, count: int) -> None:
        with self._lock:
            self._done += count
            self._files[file.path] += count
        if self._files[file.path] >= file.size:
            self.say("Downloading")
        else:
            self.heartbeat(0)

    def heartbeat(self, count: int) -> None:
        """Let the parent know that this process is alive, even while it only reads."""
        del count
        if time.monotonic() - self._spoke > _SPOKEN_EVERY:
            self.say("Downloading")

    def say(self, message: str) -> None:
        self._spoke = time.monotonic()
        # The largest that is not whole yet: of several at once, always the same one is named.
        waiting = (file for file in self._order if self._files[file.path] < file.size)
        file = next(waiting, None)
        self._tell(
            type="progress",
            message=message,
            done=self._done,
            total=self._total,
            file=file.path if file else "",
            file_done=self._files[file.path] if file else 0,
            file_total=file.size if file else 0,
        )


if __name__ == "__main__":
    sys.exit(main())
