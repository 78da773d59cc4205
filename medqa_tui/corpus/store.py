"""The passages of every corpus, in one SQLite file that a killed process leaves whole."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from medqa_tui import paths
from medqa_tui.corpus.record import CorpusInfo, PassageRecord, Progress
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE corpora (
    name TEXT PRIMARY KEY,
    licence TEXT,
    attribution TEXT,
    revision TEXT,
    date TEXT,
    fingerprint TEXT NOT NULL,
    passages INTEGER NOT NULL
) STRICT;
CREATE TABLE passages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    corpus TEXT NOT NULL REFERENCES corpora(name),
    document TEXT NOT NULL,
    title TEXT NOT NULL,
    question TEXT,
    text TEXT NOT NULL,
    source TEXT,
    url TEXT,
    licence TEXT,
    date TEXT,
    phrasings TEXT NOT NULL,
    content_hash TEXT NOT NULL
) STRICT;
CREATE INDEX passages_by_corpus ON passages(corpus, seq);
"""
_SHOWN = "id, corpus, document, title, text, question, source, url, licence, date"
_INSERT = (
    f"INSERT INTO passages ({_SHOWN}, phrasings, content_hash)"  # noqa: S608
    f" VALUES ({', '.join('?' * 12)})"
)
_PAGE = 500
_BUSY_MS = 5000


class CorpusStore:
    """The passage store; safe to share between the threads of a process.

    Each change is one transaction: readers see a corpus as it was before or as it is after.

    Args:
        path: The SQLite file; it is created, with mode 0600, when it is not there.

    Raises:
        MedQAError: The file is corrupt, of a newer version, or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        paths.ensure(path.parent)
        try:
            # SQLite gives its -wal and -shm files the mode of the database.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise MedQAError(
                "The passage store could not be opened.",
                f"{path}: {error.strerror or error}.",
                "Check the permissions of the file and the free disk space.",
            ) from error
        with self._errors():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if self._version() == 0:
            with self._write():
                # Another process may have been faster.
                if self._version() == 0:
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if (version := self._version()) > SCHEMA_VERSION:
            raise MedQAError(
                "The passage store was written by a newer medqa-tui.",
                f"{self.path} has version {version}; this program knows {SCHEMA_VERSION}.",
                "Upgrade medqa-tui, or move the file away and type: medqa-tui setup",
            )

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> CorpusStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def corpora(self) -> tuple[CorpusInfo, ...]:
        """Return what is known of each corpus, by name."""
        rows = self._all(
            "SELECT name, licence, attribution, revision, date, fingerprint, passages"
            " FROM corpora ORDER BY name"
        )
        return tuple(CorpusInfo(*row) for row in rows)

    def corpus(self, name: str) -> CorpusInfo | None:
        """Return what is known of the corpus `name`, or None if it is not there."""
        return next((info for info in self.corpora() if info.name == name), None)

    def fingerprints(self, corpora: Sequence[str] = ()) -> dict[str, str]:
        """Return name -> fingerprint of the given corpora (all if none is given)."""
        return {
            info.name: info.fingerprint
            for info in self.corpora()
            if not corpora or info.name in corpora
        }

    def count(self, corpora: Sequence[str] = ()) -> int:
        """Return how many passages the given corpora hold (all of them if none is given)."""
        return sum(info.passages for info in self.corpora() if not corpora or info.name in corpora)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return id -> passage for those of `ids` that are in the store."""
        found: dict[str, Passage] = {}
        for start in range(0, len(ids), _PAGE):
            page = list(ids[start : start + _PAGE])
            marks = ", ".join("?" * len(page))
            query = f"SELECT {_SHOWN} FROM passages WHERE id IN ({marks})"  # noqa: S608
            found.update((row[0], Passage(*row)) for row in self._all(query, page))
        return found

    def records(self, corpora: Sequence[str] = ()) -> Iterator[PassageRecord]:
        """Yield every passage of the given corpora (all if none is given), in a stable order.

        Read a page at a time, so that memory does not grow with the corpus.
        """
        for info in self.corpora():
            if not corpora or info.name in corpora:
                yield from self._corpus_records(info.name)

    def _corpus_records(self, name: str) -> Iterator[PassageRecord]:
        seq = -1
        query = (
            f"SELECT {_SHOWN}, phrasings, seq FROM passages"  # noqa: S608
            " WHERE corpus = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        while rows := self._all(query, (name, seq, _PAGE)):
            for row in rows:
                yield PassageRecord(Passage(*row[:10]), tuple(json.loads(row[10])))
            seq = rows[-1][11]

    def replace(
        self,
        info: CorpusInfo,
        records: Iterable[PassageRecord],
        on_progress: Progress | None = None,
        total: int = 0,
    ) -> CorpusInfo:
        """Put `records` in the place of whatever the corpus `info.name` held.

        One transaction: killed on the way, the old passages stay.

        Returns:
            `info` with its fingerprint and number of passages.

        Raises:
            MedQAError: Two passages share an id, another process writes, or the disk refuses.
        """
        digest = hashlib.sha256()
        done = 0
        with self._errors(), self._write():
            self._remove(info.name)
            # The row comes first, for the passages refer to it; its figures are known at the end.
            self._put_info(replace(info, fingerprint="", passages=0))
            for done, record in enumerate(records, 1):
                self._insert(record, info.name)
                digest.update(record.content_hash.encode())
                if on_progress is not None and (done % _PAGE == 0 or done == total):
                    on_progress(done, max(total, done))
            stored = replace(info, fingerprint=digest.hexdigest(), passages=done)
            self._put_info(stored)
        return stored

    def remove(self, name: str) -> bool:
        """Delete a corpus and its passages; return whether it was there."""
        with self._errors(), self._write():
            return self._remove(name)

    def _remove(self, name: str) -> bool:
        self._db.execute("DELETE FROM passages WHERE corpus = ?", (name,))
        return self._db.execute("DELETE FROM corpora WHERE name = ?", (name,)).rowcount > 0

    def _put_info(self, info: CorpusInfo) -> None:
        self._db.execute(
            "INSERT INTO corpora VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET"
            " fingerprint = excluded.fingerprint, passages = excluded.passages",
            (
                info.name,
                info.licence,
                info.attribution,
                info.revision,
                info.date,
                info.fingerprint,
                info.passages,
            ),
        )

    def _insert(self, record: PassageRecord, corpus: str) -> None:
        passage = record.passage
        if passage.corpus != corpus or not passage.id.startswith(f"{corpus}:"):
            raise MedQAError(
                "A passage does not belong to its corpus.", f"{passage.id} came with {corpus}."
            )
        shown = (
            passage.id,
            passage.corpus,
            passage.document,
            passage.title,
            passage.text,
            passage.question,
            passage.source,
            passage.url,
            passage.licence,
            passage.date,
        )
        phrasings = json.dumps(record.phrasings, ensure_ascii=False)
        try:
            self._db.execute(_INSERT, (*shown, phrasings, record.content_hash))
        except sqlite3.IntegrityError as error:
            raise MedQAError(
                "Two passages share an id.",
                f"{passage.id} in the corpus {corpus}.",
                "Give each document of the source its own id.",
            ) from error

    def _all(self, query: str, parameters: Sequence[str | int] = ()) -> list[Any]:
        with self._lock, self._errors(), closing(self._db.execute(query, parameters)) as cursor:
            return cursor.fetchall()

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into words."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            raise MedQAError(
                "Another process is writing the passage store."
                if busy
                else "The passage store could not be used.",
                f"{self.path}: {error}.",
                "Wait until it is done, then try again."
                if busy
                else "Check the free disk space and the permissions of the file.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise MedQAError(
                "The passage store is damaged.",
                f"{self.path}: {error}.",
                "Move the file away, then type: medqa-tui setup",
            ) from error
