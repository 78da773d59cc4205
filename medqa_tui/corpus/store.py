"""The passages of every corpus, in one SQLite file that a killed process leaves whole."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from medqa_tui.corpus.database import CorpusDatabase
from medqa_tui.corpus.record import CorpusInfo, PassageRecord, Progress
from medqa_tui.corpus.schema import SCHEMA_VERSION
from medqa_tui.domain import Passage, Scope
from medqa_tui.errors import MedQAError

__all__ = ["SCHEMA_VERSION", "Change", "CorpusStore"]

_SHOWN = "id, corpus, document, title, text, question, source, url, licence, date"
# The revision is that of the whole corpus, and is no part of a stored passage.
_READ = f"{', '.join(f'p.{column}' for column in _SHOWN.split(', '))}, c.revision"
_JOINED = "passages p LEFT JOIN corpora c ON c.name = p.corpus"
_INSERT = (
    f"INSERT INTO passages ({_SHOWN}, phrasings, content_hash)"  # noqa: S608
    f" VALUES ({', '.join('?' * 12)})"
)
_UPDATE = (
    f"UPDATE passages SET ({_SHOWN}, phrasings, content_hash)"  # noqa: S608
    f" = ({', '.join('?' * 12)}) WHERE id = ?"
)
_INFO = (
    "name, licence, attribution, revision, date, fingerprint, passages, documents, origin,"
    " left_out, updated"
)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did to a corpus, in passages."""

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


class CorpusStore:
    """The passage store; safe to share between the threads of a process.

    Each change is one transaction: readers see a corpus as it was before or as it is after. A file
    that this user may not write can still be searched.

    Args:
        path: The SQLite file; it is created, with mode 0600, when it is not there.
        read_only: Whether it must only be read.

    Raises:
        MedQAError: The file is corrupt, of a newer version, or cannot be created.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._db = CorpusDatabase(path, read_only)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed."""
        return self._db.read_only

    def close(self) -> None:
        """Close the file."""
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
        rows = self._db.all(f"SELECT {_INFO} FROM corpora ORDER BY name")  # noqa: S608
        return tuple(_corpus_info(row) for row in rows)

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
            query = f"SELECT {_READ} FROM {_JOINED} WHERE p.id IN ({marks})"  # noqa: S608
            found.update((row[0], Passage(*row)) for row in self._db.all(query, page))
        return found

    def document(self, corpus: str, document: str) -> tuple[PassageRecord, ...]:
        """Return the passages of one document, in the order of its text."""
        first, end = f"{corpus}:{document}#", f"{corpus}:{document}$"
        query = (
            f"SELECT {_READ}, p.phrasings FROM {_JOINED}"  # noqa: S608
            " WHERE p.id >= ? AND p.id < ? ORDER BY length(p.id), p.id"
        )
        return tuple(_record(row) for row in self._db.all(query, (first, end)))

    def within(self, scope: Scope) -> set[str]:
        """Return the ids of the passages that `scope` covers."""
        source = " OR ".join(
            "instr(lower(coalesce(p.source, '') || ' ' || coalesce(p.url, '')), ?)"
            for _ in scope.sources
        )
        tests = [f"({source})"] if source else []
        values: list[str | int] = [text.lower() for text in scope.sources]
        if scope.since:
            tests.append("coalesce(p.date, c.date) >= ?")
            values.append(scope.since)
        if scope.until:
            tests.append("substr(coalesce(p.date, c.date), 1, ?) <= ?")
            values += [len(scope.until), scope.until]
        if scope.corpora:
            tests.append(f"p.corpus IN ({', '.join('?' * len(scope.corpora))})")
            values += scope.corpora
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        query = f"SELECT p.id FROM {_JOINED}{where}"  # noqa: S608
        return {row[0] for row in self._db.all(query, values)}

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
            f"SELECT {_READ}, p.phrasings, p.seq FROM {_JOINED}"  # noqa: S608
            " WHERE p.corpus = ? AND p.seq > ? ORDER BY p.seq LIMIT ?"
        )
        while rows := self._db.all(query, (name, seq, _PAGE)):
            for row in rows:
                yield _record(row)
            seq = rows[-1][12]

    def hashes(self, corpus: str) -> Iterator[tuple[str, str]]:
        """Yield the id and the content hash of every passage of a corpus, in their order."""
        seq = -1
        query = (
            "SELECT id, content_hash, seq FROM passages"
            " WHERE corpus = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        while rows := self._db.all(query, (corpus, seq, _PAGE)):
            yield from (row[:2] for row in rows)
            seq = rows[-1][2]

    def replace(
        self,
        info: CorpusInfo,
        records: Iterable[PassageRecord],
        on_progress: Progress | None = None,
        total: int = 0,
    ) -> CorpusInfo:
        """Put `records` in the place of whatever the corpus `info.name` held, in their order.

        One transaction: killed on the way, the old passages stay.

        Returns:
            `info` with its fingerprint and number of passages.

        Raises:
            MedQAError: Two passages share an id, another process writes, or the disk refuses.
        """
        with self._db.errors(), self._db.write():
            self._remove(info.name)
            # The row comes first, for the passages refer to it; its figures are known at the end.
            self._put_info(replace(info, fingerprint="", passages=0))
            for done, record in enumerate(records, 1):
                self._insert(record, info.name)
                if on_progress is not None and (done % _PAGE == 0 or done == total):
                    on_progress(done, max(total, done))
            return self._seal(info)

    def merge(
        self,
        info: CorpusInfo,
        records: Iterable[PassageRecord],
        on_progress: Progress | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> tuple[CorpusInfo, Change]:
        """Make `records` what the corpus `info.name` holds, writing only what differs.

        A passage that is there already, byte for byte, is not touched; passages that are not
        among `records` are removed. One transaction: killed on the way, the old passages stay.

        Args:
            on_progress: Called with (records seen, 0) now and then.
            left_out: What `records` left out, which is read once they end.

        Returns:
            `info` with its figures, and what changed. If nothing did, the time of the last change
            and the fingerprint are what they were.

        Raises:
            MedQAError: Two passages share an id, another process writes, or the disk refuses.
        """
        added = changed = unchanged = 0
        with self._db.errors(), self._db.write():
            before = self.corpus(info.name)
            query = "SELECT id, content_hash FROM passages WHERE corpus = ?"
            gone: dict[str, str] = dict(self._db.all(query, (info.name,)))
            self._put_info(replace(info, fingerprint="", passages=0))
            for done, record in enumerate(records, 1):
                known = gone.pop(record.passage.id, None)
                if known is None:
                    self._insert(record, info.name)
                    added += 1
                elif known == record.content_hash:
                    unchanged += 1
                else:
                    self._check_owner(record, info.name)
                    self._db.connection.execute(_UPDATE, (*_values(record), record.passage.id))
                    changed += 1
                if on_progress is not None and done % _PAGE == 0:
                    on_progress(done, 0)
            self._db.connection.executemany(
                "DELETE FROM passages WHERE id = ?", ((each,) for each in gone)
            )
            change = Change(added, changed, len(gone), unchanged)
            info = replace(info, left_out=dict(left_out or {}))
            stored = self._seal(info, before.updated if before and change.is_empty else None)
        return stored, change

    def remove(self, name: str) -> bool:
        """Delete a corpus and its passages; return whether it was there.

        The text is overwritten in the file, which shrinks where there is room to do so; `wipe`
        empties the log.
        """
        with self._db.errors(), self._db.write():
            removed = self._remove(name)
        if removed:
            self._shrink()
        return removed

    def wipe(self) -> bool:
        """Bring what was changed from the log into the file, so that nothing older is in either.

        Returns:
            Whether it could be done; after a while it cannot if another process is reading.
        """
        return self._db.wipe_log()

    def problems(self) -> list[str]:
        """Return what is wrong with the file, in words; every page and every passage is read."""
        try:
            rows = self._db.all("PRAGMA integrity_check(5)")
            found = [f"{self.path}: {row[0]}" for row in rows if row[0] != "ok"]
            for info in self.corpora():
                with self._db.lock, self._db.errors():
                    digest, passages, _ = self._figures(info.name)
                if (digest, passages) != (info.fingerprint, info.passages):
                    found.append(f"{self.path}: {info.name} is not what was stored.")
        except (MedQAError, ValueError) as error:
            return [str(error)]
        return found

    def _shrink(self) -> None:
        try:
            with self._db.errors():
                self._db.connection.execute("VACUUM")
        except MedQAError:
            # For want of space, or because another process reads: it is overwritten all the same.
            pass

    def _seal(self, info: CorpusInfo, updated: str | None = None) -> CorpusInfo:
        """Write the figures of the corpus as its passages are now."""
        digest, passages, documents = self._figures(info.name)
        stored = replace(
            info,
            fingerprint=digest,
            passages=passages,
            documents=documents,
            updated=updated or datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._put_info(stored)
        return stored

    def _figures(self, name: str) -> tuple[str, int, int]:
        digest, passages = hashlib.sha256(), 0
        query = "SELECT content_hash FROM passages WHERE corpus = ? ORDER BY seq"
        for (content,) in self._db.connection.execute(query, (name,)):
            digest.update(content.encode())
            passages += 1
        query = "SELECT count(DISTINCT document) FROM passages WHERE corpus = ?"
        ((documents,),) = self._db.all(query, (name,))
        return digest.hexdigest(), passages, documents

    def _remove(self, name: str) -> bool:
        db = self._db.connection
        db.execute("DELETE FROM passages WHERE corpus = ?", (name,))
        return db.execute("DELETE FROM corpora WHERE name = ?", (name,)).rowcount > 0

    def _put_info(self, info: CorpusInfo) -> None:
        columns = _INFO.split(", ")[1:]
        self._db.connection.execute(
            f"INSERT INTO corpora ({_INFO}) VALUES ({', '.join('?' * (len(columns) + 1))})"  # noqa: S608
            f" ON CONFLICT(name) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in columns)}",
            (
                info.name,
                info.licence,
                info.attribution,
                info.revision,
                info.date,
                info.fingerprint,
                info.passages,
                info.documents,
                info.origin,
                json.dumps(dict(info.left_out), ensure_ascii=False),
                info.updated,
            ),
        )

    def _insert(self, record: PassageRecord, corpus: str) -> None:
        self._check_owner(record, corpus)
        try:
            self._db.connection.execute(_INSERT, _values(record))
        except sqlite3.IntegrityError as error:
            raise MedQAError(
                "Two passages share an id.",
                f"{record.passage.id} in the corpus {corpus}.",
                "Give each document of the source its own id.",
            ) from error

    @staticmethod
    def _check_owner(record: PassageRecord, corpus: str) -> None:
        passage = record.passage
        if passage.corpus != corpus or not passage.id.startswith(f"{corpus}:"):
            raise MedQAError(
                "A passage does not belong to its corpus.", f"{passage.id} came with {corpus}."
            )


def _corpus_info(row: Sequence[Any]) -> CorpusInfo:
    *plain, left_out, updated = row
    return replace(CorpusInfo(*plain), left_out=json.loads(left_out), updated=updated)


def _record(row: Sequence[Any]) -> PassageRecord:
    return PassageRecord(Passage(*row[:11]), tuple(json.loads(row[11])))


def _values(record: PassageRecord) -> tuple[Any, ...]:
    passage = record.passage
    return (
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
        json.dumps(record.phrasings, ensure_ascii=False),
        record.content_hash,
    )
