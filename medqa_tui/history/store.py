"""What was asked and answered: saved before an answer is made, and while it grows."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medqa_tui.domain import AnswerStatus, Turn
from medqa_tui.errors import MedQAError
from medqa_tui.grounding.closed_book import unlabelled
from medqa_tui.history import salvage, search, upkeep
from medqa_tui.history.database import Database, Tell
from medqa_tui.history.entry import COLUMNS, Entry, Progress, read_answer, read_entry
from medqa_tui.history.migrations import corrupt, remove
from medqa_tui.history.recorder import Recorder
from medqa_tui.safety.sanitize import clean

__all__ = ["Entry", "HistoryStore", "Progress", "Recorder"]

# What an INTEGER of SQLite holds; a larger number from the command line names no entry.
_LARGEST = 2**63 - 1
_NO_ANSWER = frozenset({AnswerStatus.ABSTAINED, AnswerStatus.OUT_OF_SCOPE, AnswerStatus.FAILED})


class HistoryStore:
    """The history in one SQLite file; nothing is opened or created before it is needed.

    Args:
        path: The file, usually `paths.history_db`.
        tell: Hears, in words, of a damaged file that was repaired and of a failed write.
        retention_days: After how many days answers are deleted when the next is kept; 0 is never.
    """

    def __init__(self, path: Path, tell: Tell | None = None, retention_days: int = 0) -> None:
        self.tell = tell
        self.retention_days = retention_days
        self.database = Database(path, tell)

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()

    # -- conversations -----------------------------------------------------------------------

    def new_session(self) -> str:
        """Return the id of a new conversation; it is stored with its first question."""
        return uuid.uuid4().hex

    def latest_session(self) -> str | None:
        """Return the id of the conversation that was last asked in, if there is any."""
        row = self._one("SELECT session FROM turns ORDER BY asked DESC, id DESC LIMIT 1")
        return None if row is None else str(row[0])

    def turns(self, session: str) -> tuple[Turn, ...]:
        """Return the conversation's questions that have an answer, oldest first.

        One that was refused or failed is no answer, and names no topic to go on from; what a
        killed process had said is one.
        """
        rows = self._all(
            "SELECT question, text, status, answer FROM turns"
            " WHERE session = ? AND text != '' ORDER BY asked, id",
            (session,),
        )
        return tuple(
            Turn(question, unlabelled(text))
            for question, text, status, answer in rows
            if status not in _NO_ANSWER and not _advice_alone(status, answer)
        )

    def recorder(self, session: str) -> Recorder:
        """Return what keeps the conversation `session`."""
        return Recorder(self, session)

    # -- looking -----------------------------------------------------------------------------

    def list(self, limit: int | None = None, since: str = "") -> tuple[Entry, ...]:
        """Return entries without their whole answers: pinned ones, then the others, newest first.

        Args:
            since: Only entries asked at this ISO time (UTC) or later, as `since.parse` returns it.
        """
        rows = self._all(
            f"SELECT {COLUMNS} FROM turns WHERE asked >= ?"  # noqa: S608 - our own names
            " ORDER BY pinned DESC, asked DESC, id DESC LIMIT ?",
            (since, -1 if limit is None else min(limit, _LARGEST)),
        )
        return tuple(read_entry(row) for row in rows)

    def latest(self) -> Entry | None:
        """Return the entry that was asked last, with its whole answer."""
        row = self._one("SELECT id FROM turns ORDER BY asked DESC, id DESC LIMIT 1")
        return None if row is None else self.get(int(row[0]))

    def count(self, since: str = "") -> int:
        """Return the number of entries asked at `since` or later."""
        row = self._one("SELECT count(*) FROM turns WHERE asked >= ?", (since,))
        return int(row[0]) if row else 0

    def get(self, id: int) -> Entry | None:
        """Return an entry with its whole answer, or None if there is none of that number."""
        if abs(id) > _LARGEST:
            return None
        row = self._one(
            f"SELECT {COLUMNS}, answer FROM turns WHERE id = ?",  # noqa: S608 - our own names
            (id,),
        )
        return None if row is None else read_entry(row[:-1], row[-1])

    def whole(self, ids: Sequence[int] = (), since: str = "") -> tuple[Entry, ...]:
        """Return entries with their whole answers, oldest first: all, or those of `ids`."""
        rows = self._all(
            f"SELECT {COLUMNS}, answer FROM turns"  # noqa: S608 - our own names
            " WHERE asked >= ? ORDER BY asked, id",
            (since,),
        )
        wanted = set(ids)
        return tuple(
            read_entry(row[:-1], row[-1]) for row in rows if not wanted or row[0] in wanted
        )

    def search(self, words: str, limit: int = 20, since: str = "") -> search.Found:
        """Return the entries that hold `words`, best first; see `search.terms` for quoting.

        Raises:
            UsageError: `words` holds no word, or this Python's SQLite cannot search.
        """
        wanted = search.terms(clean(words, False))
        if not self.database.path.exists():
            return search.Found((), 0)

        def work(connection: sqlite3.Connection) -> search.Found:
            if dead := upkeep.killed(connection):
                with suppress(sqlite3.OperationalError):  # it may be open for reading only
                    upkeep.settle(connection, dead)
                    connection.commit()
            found = search.search(connection, wanted, min(limit, _LARGEST), since)
            # A damaged index finds nothing and says nothing.
            if not found.total and not search.is_sound(connection):
                raise corrupt("the search index is damaged")
            return found

        return self.database.run(work)

    # -- changing ----------------------------------------------------------------------------

    def rename(self, id: int, title: str) -> bool:
        """Give an entry a title (an empty one takes it away); return whether there is one."""
        named = " ".join(clean(title, False).split())
        return self._change("UPDATE turns SET title = ? WHERE id = ?", [(named, id)]) > 0

    def pin(self, ids: Iterable[int], pinned: bool = True) -> int:
        """Pin or unpin entries; return how many there are of these numbers."""
        return self._change(
            "UPDATE turns SET pinned = ? WHERE id = ?", [(int(pinned), id) for id in ids]
        )

    def delete(self, id: int) -> bool:
        """Delete an entry, overwriting it on disk; return whether there was one."""

        def work(connection: sqlite3.Connection) -> bool:
            gone = connection.execute("DELETE FROM turns WHERE id = ?", (id,)).rowcount
            upkeep.forget(connection)
            return gone > 0

        return abs(id) <= _LARGEST and self.database.run(work)

    def purge(self) -> int:
        """Delete everything, also damaged files that were kept; return the entries' number.

        Raises:
            MedQAError: Another program is using the file, or it cannot be written.
        """

        def work(connection: sqlite3.Connection) -> int:
            gone = connection.execute("DELETE FROM turns").rowcount
            upkeep.forget(connection)
            return gone

        def shrink(connection: sqlite3.Connection) -> None:
            # secure_delete has overwritten the rows; VACUUM drops the pages they lay in.
            search.ensure(connection)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        gone = self.database.run(work)
        self.database.run(shrink)
        for path in salvage.everything_beside(self.database.path):
            try:
                remove(path)
            except OSError as error:
                raise MedQAError(
                    "A damaged history file could not be deleted.",
                    f"{path}: {error.strerror or error}.",
                    f'Delete it with: rm "{path}"',
                ) from error
        return gone

    def set_aside(self) -> tuple[Path, ...]:
        """Return the damaged files that were kept, which may hold earlier questions."""
        return salvage.set_aside(self.database.path)

    def _change(self, statement: str, rows: Sequence[tuple[Any, int]]) -> int:
        if not self.database.path.exists():
            return 0
        known = [row for row in rows if abs(row[1]) <= _LARGEST]

        def work(connection: sqlite3.Connection) -> int:
            changed = sum(connection.execute(statement, row).rowcount for row in known)
            # A title that was replaced leaves its words in the index until it is merged.
            search.forget(connection)
            return changed

        return self.database.run(work)

    def _one(self, query: str, values: tuple[object, ...] = ()) -> Any:
        if not self.database.path.exists():
            return None
        return self.database.run(lambda connection: connection.execute(query, values).fetchone())

    def _all(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...]:
        if not self.database.path.exists():
            return ()
        return tuple(
            self.database.run(lambda connection: connection.execute(query, values).fetchall())
        )


def _advice_alone(status: str, answer: str | None) -> bool:
    """Tell an emergency whose text, after the advice, is an "I don't know"."""
    if status != AnswerStatus.EMERGENCY:
        return False
    whole = read_answer(answer)
    return whole is not None and not whole.is_context
