"""Keeping one conversation while it happens, whatever the disk does meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medqa_tui.domain import Answer, Question, Triage
from medqa_tui.errors import MedQAError
from medqa_tui.history import upkeep
from medqa_tui.history.entry import Progress, adapter
from medqa_tui.history.writer import this_writer
from medqa_tui.safety.sanitize import clean

if TYPE_CHECKING:
    from medqa_tui.history.store import HistoryStore


class Recorder:
    """Keeps one conversation; implements `assistant.Recorder`.

    Where the store was given `tell`, a write that fails is told once a question and the answer
    goes on; the next question is tried again.

    Raises:
        MedQAError: Nothing can be written, and there is nobody to tell.
    """

    def __init__(self, store: HistoryStore, session: str) -> None:
        self._store = store
        self._session = session
        self._kept = ""
        self._lost = ""

    def begin(self, question: Question, triage: Triage) -> None:
        """Save the question, before anything is generated for it."""
        row = {
            "turn": question.turn,
            "session": self._session,
            "asked": now(),
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

        self._write(question.turn, write)
        if self._lost != question.turn:
            # What cannot be deleted today is deleted tomorrow; the answer comes first.
            days = self._store.retention_days
            with suppress(MedQAError):
                self._store.database.run(lambda connection: upkeep.expire(connection, days))

    def partial(self, turn: str, text: str) -> None:
        """Save what of the answer has been checked so far."""
        self._write(
            turn,
            lambda connection: connection.execute(
                "UPDATE turns SET text = ? WHERE turn = ?", (clean(text), turn)
            ),
        )

    def finish(self, turn: str, answer: Answer) -> None:
        """Save the whole answer."""
        # A lone surrogate, which a terminal can send, has no place in JSON.
        answer = replace(answer, question=clean(answer.question), text=clean(answer.text))
        whole = adapter().dump_json(answer).decode()
        values = (now(), answer.status.value, answer.text, whole, turn)
        self._write(
            turn,
            lambda connection: connection.execute(
                "UPDATE turns SET finished = ?, status = ?, text = ?, answer = ? WHERE turn = ?",
                values,
            ),
        )

    def _write(self, turn: str, work: Callable[[sqlite3.Connection], object]) -> None:
        if self._lost == turn:
            return
        try:
            self._store.database.run(work)
            self._kept = turn
        except MedQAError as error:
            if self._store.tell is None:
                raise
            self._lost = turn
            what = "The rest of this answer" if self._kept == turn else "This answer"
            self._store.tell(f"{what} is not kept. {error}")


def now() -> str:
    """Return the time as the history keeps it: ISO, UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
