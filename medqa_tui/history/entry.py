"""What the history knows of one question, and how it lies in a row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from medqa_tui.domain import Answer, AnswerStatus, TriageLevel
from medqa_tui.history.writer import is_alive

if TYPE_CHECKING:
    from pydantic import TypeAdapter

COLUMNS = (
    "id, turn, session, asked, finished, status, question, text, triage, advice, writer,"
    " title, pinned"
)


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
        title: A name that the user gave it, or nothing.
        pinned: Whether it is listed first and kept whatever its age.
        answer: The whole answer; only `get` and `whole` fill it.
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
    title: str = ""
    pinned: bool = False
    answer: Answer | None = None

    @property
    def name(self) -> str:
        """What it is listed as: its title, or else the question."""
        return self.title or self.question


def read_entry(row: Any, answer: str | None = None) -> Entry:
    """Return the entry of a row of `COLUMNS`; a row with a damaged value is still an entry.

    Args:
        answer: The whole answer as JSON, where it was asked for.
    """
    id, turn, session, asked, finished, status, question, text, triage, advice, writer, *more = row
    title, pinned = more
    if status == Progress.RUNNING and not is_alive(str(writer)):
        status = Progress.INTERRUPTED
    return Entry(
        id=id,
        turn=str(turn),
        session=str(session),
        asked=str(asked),
        finished=None if finished is None else str(finished),
        status=_status(status),
        question=_text(question),
        text=_text(text),
        triage=TriageLevel(triage) if triage in set(TriageLevel) else TriageLevel.NONE,
        advice=_text(advice),
        title=_text(title),
        pinned=bool(pinned),
        answer=read_answer(answer),
    )


def read_answer(text: object) -> Answer | None:
    """Return the answer that is stored as JSON, or None where there is none that can be read."""
    if not isinstance(text, str):
        return None
    try:
        answer: Answer = adapter().validate_json(text)
    except ValueError:
        # Another version wrote it; its text is in a column of its own and is still shown.
        return None
    return answer


@cache
def adapter() -> TypeAdapter[Any]:
    """Return what turns an `Answer` into JSON and back."""
    # pydantic costs 0.1 s to import; listing never needs it.
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _status(value: object) -> AnswerStatus | Progress:
    if value in set(AnswerStatus):
        return AnswerStatus(str(value))
    return Progress.RUNNING if value == Progress.RUNNING else Progress.INTERRUPTED


def _text(value: object) -> str:
    return "" if value is None else str(value)
