"""What was asked and answered: saved before an answer is made, and while it grows."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.domain import Answer, AnswerStatus, Question, Triage, TriageLevel, Turn
from medqa_tui.errors import MedQAError
from medqa_tui.history.database import Database, Tell
from medqa_tui.history.writer import is_alive, this_writer
from medqa_tui.safety.sanitize import clean

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# What an INTEGER of SQLite holds; a larger number from the command line names no entry.
_LARGEST = 2**63 - 1
_COLUMNS = "id, turn, session, asked, finished, status, question, text, triage, advice, writer"
_NO_ANSWER = frozenset({AnswerStatus.ABSTAINED, AnswerStatus.OUT_OF_SCOPE, AnswerStatus.FAILED})


class Progress(StrEnum):
    """How far an entry without a finished answer is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Entry:
    """One question of the history.

    Attributes:
        id: The number that the user types.
        asked: ISO time (UTC); `finished` is None while the answer was not completed.
        status: An answer's status, or `running`, or `interrupted` if its process died.
        text: The answer, or as much of it as had been checked.
        answer: The whole answer; only `get` fills it.
    """

    id: int
    turn: str
    session: str
    asked: str
    finished: str | None
    status: AnswerStatus | Progress
    question: str
    text: str
    triage: TriageLevel
    advice: str
    answer: Answer | None = None


class Recorder:
    """Keeps one conversation; implements `assistant.Recorder`.

    Where the store was given `tell`, a write that fails is told once and the answer goes on.

    Raises:
        MedQAError: Nothing can be written, and there is nobody to tell.
    """

    def __init__(self, store: HistoryStore, session: str) -> None:
        self._store = store
        self._session = session
        self._failed = False

    def begin(self, question: Question, triage: Triage) -> None:
        """Save the question, before anything is generated for it."""
        row = {
            "turn": question.turn,
            "session": self._session,
            "asked": _now(),
            "status": Progress.RUNNING.value,
            "question": clean(question.text),
            "triage": triage.level.value,
            "advice": triage.advice,
            "writer": this_writer(),
        }

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO sessions (id, started) VALUES (:session, :asked)", row
            )
            connection.execute(
                "INSERT INTO turns (turn, session, asked, status, question, triage, advice, writer)"
                " VALUES (:turn, :session, :asked, :status, :question, :triage, :advice, :writer)",
                row,
            )

        self._write(write)

    def partial(self, turn: str, text: str) -> None:
        """Save what of the answer has been checked so far."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE turns SET text = ? WHERE turn = ?", (clean(text), turn)
            )
        )

    def finish(self, turn: str, answer: Answer) -> None:
        """Save the whole answer."""
        # A lone surrogate, which a terminal can send, has no place in JSON.
        answer = replace(answer, question=clean(answer.question), text=clean(answer.text))
        whole = _adapter().dump_json(answer).decode()
        values = (_now(), answer.status.value, answer.text, whole, turn)
        self._write(
            lambda connection: connection.execute(
                "UPDATE turns SET finished = ?, status = ?, text = ?, answer = ? WHERE turn = ?",
                values,
            )
        )

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        if self._failed:
            return
        try:
            self._store.database.run(work)
        except MedQAError as error:
            if self._store.tell is None:
                raise
            self._failed = True
            self._store.tell(f"This answer is not kept. {error}")


class HistoryStore:
    """The history in one SQLite file; nothing is opened or created before it is needed.

    Args:
        path: The file, usually `paths.history_db`.
        tell: Hears, in words, of a damaged file that was moved aside and of a failed write.
    """

    def __init__(self, path: Path, tell: Tell | None = None) -> None:
        self.tell = tell
        self.database = Database(path, tell)

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()

    def new_session(self) -> str:
        """Return the id of a new conversation; it is stored with its first question."""
        return uuid.uuid4().hex

    def latest_session(self) -> str | None:
        """Return the id of the conversation that was last asked in, if there is any."""
        row = self._one("SELECT session FROM turns ORDER BY id DESC LIMIT 1")
        return None if row is None else str(row[0])

    def turns(self, session: str) -> tuple[Turn, ...]:
        """Return the conversation's questions that have an answer, oldest first.

        One that was refused or failed is no answer, and names no topic to go on from; what a
        killed process had said is one.
        """
        rows = self._all(
            "SELECT question, text, status, answer FROM turns"
            " WHERE session = ? AND text != '' ORDER BY id",
            (session,),
        )
        return tuple(
            Turn(question, text)
            for question, text, status, answer in rows
            if status not in _NO_ANSWER and not _advice_alone(status, answer)
        )

    def recorder(self, session: str) -> Recorder:
        """Return what keeps the conversation `session`."""
        return Recorder(self, session)

    def list(self, limit: int | None = None) -> tuple[Entry, ...]:
        """Return the latest entries, newest first, without their whole answers."""
        rows = self._all(
            f"SELECT {_COLUMNS} FROM turns ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own names
            (-1 if limit is None else min(limit, _LARGEST),),
        )
        return tuple(_entry(row) for row in rows)

    def count(self) -> int:
        """Return the number of entries."""
        row = self._one("SELECT count(*) FROM turns")
        return int(row[0]) if row else 0

    def get(self, id: int) -> Entry | None:
        """Return an entry with its whole answer, or None if there is none of that number."""
        if abs(id) > _LARGEST:
            return None
        row = self._one(
            f"SELECT {_COLUMNS}, answer FROM turns WHERE id = ?",  # noqa: S608 - our own names
            (id,),
        )
        return None if row is None else _entry(row[:-1], row[-1])

    def delete(self, id: int) -> bool:
        """Delete an entry, overwriting it on disk; return whether there was one."""
        if abs(id) > _LARGEST:
            return False

        def work(connection: sqlite3.Connection) -> bool:
            gone = connection.execute("DELETE FROM turns WHERE id = ?", (id,)).rowcount
            connection.execute("DELETE FROM sessions WHERE id NOT IN (SELECT session FROM turns)")
            return gone > 0

        return self.database.run(work)

    def purge(self) -> int:
        """Delete everything, also damaged files that were moved aside; return the entries' number.

        Raises:
            MedQAError: Another program is using the file, or it cannot be written.
        """

        def work(connection: sqlite3.Connection) -> int:
            gone = connection.execute("DELETE FROM turns").rowcount
            connection.execute("DELETE FROM sessions")
            return gone

        def shrink(connection: sqlite3.Connection) -> None:
            # secure_delete has overwritten the rows; VACUUM drops the pages they lay in.
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        gone = self.database.run(work)
        self.database.run(shrink)
        for path in self.set_aside():
            try:
                _overwrite_and_remove(path)
            except OSError as error:
                raise MedQAError(
                    "A damaged history file could not be deleted.",
                    f"{path}: {error.strerror or error}.",
                    f'Delete it with: rm "{path}"',
                ) from error
        return gone

    def set_aside(self) -> tuple[Path, ...]:
        """Return the damaged files that were moved aside, which may hold earlier questions."""
        return self.database.set_aside()

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


def _entry(row: Any, answer: str | None = None) -> Entry:
    id, turn, session, asked, finished, status, question, text, triage, advice, writer = row
    if status == Progress.RUNNING and not is_alive(writer):
        status = Progress.INTERRUPTED
    return Entry(
        id=id,
        turn=turn,
        session=session,
        asked=asked,
        finished=finished,
        status=Progress(status) if status in set(Progress) else AnswerStatus(status),
        question=question,
        text=text,
        triage=TriageLevel(triage),
        advice=advice,
        answer=_read_answer(answer),
    )


def _advice_alone(status: str, answer: str | None) -> bool:
    """Tell an emergency whose text, after the advice, is an "I don't know"."""
    if status != AnswerStatus.EMERGENCY:
        return False
    whole = _read_answer(answer)
    return whole is not None and not whole.is_context


def _read_answer(text: str | None) -> Answer | None:
    if text is None:
        return None
    try:
        answer: Answer = _adapter().validate_json(text)
    except ValueError:
        # Another version wrote it; its text is in a column of its own and is still shown.
        return None
    return answer


@cache
def _adapter() -> TypeAdapter[Any]:
    # pydantic costs 0.1 s to import; listing never needs it.
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _overwrite_and_remove(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
        file.flush()
    path.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
