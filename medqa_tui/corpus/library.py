"""The corpora of a user: added, read again, removed, and rebuilt when the store is damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from medqa_tui.corpus import fetch, git_tree
from medqa_tui.corpus.cards import CORPUS as STARTER
from medqa_tui.corpus.document import Credits
from medqa_tui.corpus.ingest import ingest_starter
from medqa_tui.corpus.names import check_name, place_of, require, source_of
from medqa_tui.corpus.pipeline import Pipeline, Tally, revision_of
from medqa_tui.corpus.record import CorpusInfo, PassageRecord, Progress
from medqa_tui.corpus.rejects import RejectLog, forget_rejects
from medqa_tui.corpus.sources import BUILTINS, Archive, Source
from medqa_tui.corpus.store import Change, CorpusStore
from medqa_tui.errors import DownloadError, MedQAError, UsageError
from medqa_tui.models.files import write_atomic
from medqa_tui.paths import Paths, ensure


@dataclass(frozen=True, slots=True)
class Terms:
    """What the user says about a source; None leaves it to what is known of it."""

    licence: str | None = None
    attribution: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a corpus.

    Attributes:
        rejects: The list of what was left out, if anything was.
    """

    info: CorpusInfo
    change: Change
    tally: Tally
    rejects: Path | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The first passages of a source, as they would be stored, and what was left out before."""

    info: CorpusInfo
    passages: tuple[PassageRecord, ...]
    tally: Tally


class CorpusLibrary:
    """Changes corpora; for one process at a time, which holds the setup lock.

    Args:
        cancel: Stops what is running, which then changes nothing.
        offline: Whether nothing may be fetched.

    Attributes:
        wiped: Whether what the last change deleted or replaced is off the disk. If another process
            was reading it, the next change or update sees to it.
    """

    def __init__(
        self,
        paths: Paths,
        on_progress: Progress | None = None,
        on_fetch: fetch.Report | None = None,
        cancel: threading.Event | None = None,
        offline: bool = False,
    ) -> None:
        self._offline = offline
        self.paths = paths
        self.file = paths.corpora / "corpora.db"
        self._on_progress = on_progress
        self._on_fetch = on_fetch
        self._cancel = cancel
        self.wiped = True

    def add(self, name: str, source: Source, terms: Terms = Terms()) -> Outcome:
        """Store a source under `name`; given again, it goes on as an update of the same.

        Raises:
            UsageError: The name cannot be used, or belongs to another source.
            MedQAError: Nothing in the source can be read, or the store cannot be written.
        """
        check_name(name)
        with self._changing() as store:
            present = store.corpus(name)
            if present is not None and not _same_place(present, source):
                raise UsageError(
                    "There is a corpus of that name, from another source:",
                    f"{name}, from {place_of(present)}.",
                    f"medqa-tui corpus update {name} --from PATH, or choose another name",
                )
            return self._ingest(store, name, source, _terms(present, terms))

    def update(self, name: str, path: Path | None = None) -> Outcome:
        """Read a corpus again from its source, or from `path`, and change what differs.

        Raises:
            UsageError: There is no such corpus, or its source is gone.
            MedQAError: Nothing in the source can be read, or the store cannot be written.
        """
        with self._changing() as store:
            present = require(store, name)
            if name == STARTER:
                before = store.fingerprints((STARTER,))
                info = ingest_starter(store, self._on_progress)
                same = before == store.fingerprints((STARTER,))
                change = Change(0, 0 if same else info.passages, 0, info.passages if same else 0)
                return Outcome(info, change, Tally())
            source = source_of(present)
            if path is not None:
                source = replace(source, path=path.absolute())
            return self._ingest(store, name, source, _terms(present, Terms()))

    def remove(self, name: str) -> CorpusInfo:
        """Delete a corpus: its text, the list of what was left out, and what was fetched for it.

        Raises:
            UsageError: There is no such corpus, or it ships with the program.
        """
        if name == STARTER:
            raise UsageError(
                "The starter corpus comes with the program and stays.",
                "To search others only, name them.",
                'medqa-tui search --corpus NAME "..."',
            )
        with self._changing() as store:
            info = require(store, name)
            # First: what is removed must not come back with a rebuild.
            self._remember(store, without=name)
            store.remove(name)
        forget_rejects(self._rejects(name))
        # Of a rebuild that was killed.
        _delete_database(self._fresh)
        fetch.forget(self.paths, name)
        return info

    def preview(self, name: str, source: Source, terms: Terms, count: int) -> Preview:
        """Return the first `count` passages of a source; nothing is stored."""
        with self._at_hand(name, source, keep=True) as (path, _), RejectLog(None) as log:
            info = _info(name, source, terms)
            pipeline = self._pipeline(source, path, info, log)
            passages = tuple(islice(pipeline.passages(name), count))
            if len(passages) < count:
                self._require_some(pipeline.tally, path, log)
            return Preview(replace(info, left_out=dict(log.counts)), passages, pipeline.tally)

    def rebuild(self) -> tuple[list[Outcome], dict[str, MedQAError]]:
        """Make the store anew from the remembered sources, beside the old one, and swap them.

        Returns:
            What was read, and why others could not be; those stay remembered, and where the old
            store still has the whole of one, it is taken over.
        """
        fresh = self._fresh
        _delete_database(fresh)
        outcomes, failures = [], dict[str, MedQAError]()
        remembered = self._remembered()
        with CorpusStore(fresh) as store:
            ingest_starter(store)
            for info in remembered:
                try:
                    outcome = self._ingest(
                        store, info.name, source_of(info), _terms(info, Terms()), note=False
                    )
                except MedQAError as error:
                    if self._cancel is not None and self._cancel.is_set():
                        raise
                    taken = self._taken_over(store, info.name)
                    outcomes += [taken] if taken else []
                    failures[info.name] = _with_fate(error) if taken else error
                else:
                    outcomes.append(outcome)
        # A log of the old file would be played into the new one.
        for ending in ("-wal", "-shm"):
            Path(f"{self.file}{ending}").unlink(missing_ok=True)
        fresh.replace(self.file)
        return outcomes, failures

    @property
    def _fresh(self) -> Path:
        """Where a store is made anew."""
        return self.file.with_name(f"{self.file.name}.new")

    @contextmanager
    def _changing(self) -> Iterator[CorpusStore]:
        with CorpusStore(self.file) as store:
            yield store
            self.wiped = store.wipe()

    def _ingest(
        self, store: CorpusStore, name: str, source: Source, terms: Terms, note: bool = True
    ) -> Outcome:
        present = store.corpus(name)
        info = _info(name, source, terms)
        if _is_current(present, info, source):
            assert present is not None
            return Outcome(present, Change(0, 0, 0, present.passages), Tally())
        with (
            self._at_hand(name, source) as (path, revision),
            RejectLog(self._rejects(name)) as log,
        ):
            info = replace(info, revision=revision)
            if present is not None and _with_figures(info, present) == present:
                # A kill may have come between the store and its list.
                self._remember(store)
                return Outcome(present, Change(0, 0, 0, present.passages), Tally())
            pipeline = self._pipeline(source, path, info, log)
            passages = self._checked(pipeline, name, path, log)
            stored, change = store.merge(info, passages, self._on_progress, log.counts)
            if note:
                self._remember(store)
            rejects = log.keep()
        return Outcome(stored, change, pipeline.tally, rejects)

    def _taken_over(self, store: CorpusStore, name: str) -> Outcome | None:
        """Copy a corpus from the old store into `store`, if all of it can be read there."""
        try:
            with CorpusStore(self.file, read_only=True) as old:
                present = old.corpus(name)
                if present is None:
                    return None
                records = old.records((name,))
                stored, change = store.merge(present, records, left_out=present.left_out)
        except (MedQAError, ValueError):
            return None
        if stored.fingerprint != present.fingerprint:
            store.remove(name)
            return None
        return Outcome(stored, change, Tally())

    def _checked(
        self, pipeline: Pipeline, name: str, path: Path, log: RejectLog
    ) -> Iterator[PassageRecord]:
        yield from pipeline.passages(name)
        # Raised inside the transaction: what was there before stays.
        self._require_some(pipeline.tally, path, log)

    @staticmethod
    def _require_some(tally: Tally, path: Path, log: RejectLog) -> None:
        if tally.documents:
            return
        reasons = [f"{reason} ({count})" for reason, count in log.counts.most_common(3)]
        raise UsageError(
            "Nothing in the source can be used.",
            f"{path}: {'; '.join(reasons) or 'there is no file in it'}.",
            "Look at its first rows: medqa-tui corpus add NAME --from PATH --preview",
        )

    def _pipeline(self, source: Source, path: Path, info: CorpusInfo, log: RejectLog) -> Pipeline:
        builtin = BUILTINS.get(source.builtin or "")
        credit = builtin.credit if builtin else info.attribution
        credits = Credits(info.licence, credit, info.date)
        return Pipeline(source, path, credits, log, self._cancel)

    @contextmanager
    def _at_hand(self, name: str, source: Source, keep: bool = False) -> Iterator[tuple[Path, str]]:
        """Yield where the source lies and its revision, fetching it first where that is meant.

        What was fetched is deleted once it was read without an error, unless `keep`.
        """
        if source.path is not None:
            yield source.path, _revision(source)
            return
        builtin = BUILTINS[source.builtin or name]
        if self._offline:
            raise DownloadError(
                "This data set has to be fetched, and the network is switched off.",
                f"{builtin.homepage}.",
                f"medqa-tui corpus add {builtin.name} --from FILE",
            )
        found = fetch.fetch(builtin, self.paths, self._on_fetch, self._cancel)
        yield found.path, found.revision
        if not keep:
            fetch.forget(self.paths, name)

    def _rejects(self, name: str) -> Path:
        return self.paths.corpora / "left-out" / f"{name}.tsv"

    def _remember(self, store: CorpusStore, without: str = "") -> None:
        """Keep the sources also outside of the store, which may be lost one day.

        A source that a rebuild could not read is not in the store, and is remembered still.
        """
        known = {info.name: info for info in (*self._remembered(), *store.corpora())}
        known.pop(without, None)
        rows = [
            {
                "name": info.name,
                "licence": info.licence,
                "attribution": info.attribution,
                "date": info.date,
                "origin": info.origin,
            }
            for info in known.values()
            if info.origin
        ]
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        write_atomic(ensure(self.paths.corpora) / "sources.json", text.encode())

    def _remembered(self) -> list[CorpusInfo]:
        try:
            rows = json.loads((self.paths.corpora / "sources.json").read_bytes())
            return [CorpusInfo(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []


def _with_fate(error: MedQAError) -> MedQAError:
    return MedQAError(
        "It was taken over from the old store, for its source could not be read.",
        f"{error.title} {error.detail}".strip(),
        error.hint,
        error.exit_code,
    )


def _same_place(info: CorpusInfo, source: Source) -> bool:
    try:
        before = Source.from_json(info.origin)
    except ValueError:
        return False
    return (before.path, before.builtin) == (source.path, source.builtin)


def _terms(present: CorpusInfo | None, told: Terms) -> Terms:
    if present is None:
        return told
    return Terms(
        told.licence or present.licence,
        told.attribution or present.attribution,
        told.date or present.date,
    )


def _info(name: str, source: Source, terms: Terms) -> CorpusInfo:
    builtin = BUILTINS.get(source.builtin or "")
    return CorpusInfo(
        name=name,
        licence=terms.licence or (builtin.licence if builtin else None),
        attribution=terms.attribution or (builtin.attribution if builtin else None),
        date=terms.date or (builtin.date if builtin else None),
        origin=source.to_json(),
    )


def _with_figures(info: CorpusInfo, of: CorpusInfo) -> CorpusInfo:
    return replace(
        info,
        fingerprint=of.fingerprint,
        passages=of.passages,
        documents=of.documents,
        left_out=of.left_out,
        updated=of.updated,
    )


def _is_current(present: CorpusInfo | None, info: CorpusInfo, source: Source) -> bool:
    """Say whether fetching the source would bring what is there already."""
    builtin = BUILTINS.get(source.builtin or "")
    if present is None or source.path is not None or builtin is None:
        return False
    if not isinstance(builtin.place, Archive):
        return False
    now = replace(info, revision=builtin.place.commit)
    return _with_figures(now, present) == present


def _revision(source: Source) -> str:
    assert source.path is not None
    builtin = BUILTINS.get(source.builtin or "")
    place = builtin.place if builtin else None
    is_zip = source.path.suffix.lower() == ".zip" and source.path.is_file()
    if isinstance(place, Archive) and is_zip and git_tree.tree_hash(source.path) == place.tree:
        return place.commit
    try:
        return revision_of(source.path)
    except OSError as error:
        raise UsageError(
            "The source cannot be read:",
            f"{error.filename or source.path}: {error.strerror or error}.",
            "Check its permissions, then try again.",
        ) from error


def _delete_database(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
