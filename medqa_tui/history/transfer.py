"""The history as a file: written as Markdown, HTML or JSON, and read back from JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from medqa_tui.domain import AnswerStatus, TriageLevel
from medqa_tui.errors import UsageError
from medqa_tui.history import facts
from medqa_tui.history.entry import Entry, Progress, adapter
from medqa_tui.history.store import HistoryStore
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.safety.sanitize import clean

FORMAT = "medqa-tui history"
SCHEMA_VERSION = 1
_AGAIN = "medqa-tui history export --format json --output FILE"


class ExportFormat(StrEnum):
    """What an export can be; only JSON can be imported."""

    MARKDOWN = "md"
    JSON = "json"
    HTML = "html"


def export(entries: Sequence[Entry], form: ExportFormat) -> str:
    """Return a document of entries that have their whole answers, in the order given."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    match form:
        case ExportFormat.JSON:
            return json.dumps(_record(entries, now), ensure_ascii=False, indent=1) + "\n"
        case ExportFormat.HTML:
            from medqa_tui.history import page

            return page.render(entries, facts.local_time(now))
        case ExportFormat.MARKDOWN:
            from medqa_tui.history import markdown

            return markdown.render(entries, facts.local_time(now))


def import_json(store: HistoryStore, text: str) -> tuple[int, int]:
    """Add the entries of an exported JSON document; return how many were new, how many known.

    An entry is known by its turn, so that importing twice changes nothing. All of them are added,
    or none.

    Raises:
        UsageError: It is no such document, or an entry of it is not whole.
        MedQAError: The history cannot be written.
    """
    rows = [_row(entry, number) for number, entry in enumerate(_entries(text), 1)]

    def work(connection: sqlite3.Connection) -> int:
        known = {str(turn) for (turn,) in connection.execute("SELECT turn FROM turns")}
        new = {row["turn"]: row for row in rows if row["turn"] not in known}.values()
        for row in sorted(new, key=lambda row: str(row["asked"])):
            connection.execute(
                "INSERT OR IGNORE INTO sessions (id, started) VALUES (:session, :asked)", row
            )
            connection.execute(
                "INSERT INTO turns (turn, session, asked, finished, status, question, text, triage,"
                " advice, answer, writer, title, pinned) VALUES (:turn, :session, :asked,"
                " :finished, :status, :question, :text, :triage, :advice, :answer, '', :title,"
                " :pinned)",
                row,
            )
        return len(new)

    added = store.database.run(work) if rows else 0
    return added, len(rows) - added


def _record(entries: Sequence[Entry], now: str) -> dict[str, Any]:
    from medqa_tui import __version__

    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "program": f"medqa-tui {__version__}",
        "exported": now,
        "disclaimer": DISCLAIMER,
        "entries": [
            {
                "id": entry.id,
                "turn": entry.turn,
                "session": entry.session,
                "asked": entry.asked,
                "finished": entry.finished,
                "status": entry.status.value,
                "title": entry.title,
                "pinned": entry.pinned,
                "question": entry.question,
                "text": entry.text,
                "triage": entry.triage.value,
                "advice": entry.advice,
                "answer": None
                if entry.answer is None
                else adapter().dump_python(entry.answer, mode="json"),
            }
            for entry in entries
        ],
    }


def _entries(text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("This is no JSON.", f"{error}.", _AGAIN) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError("This is no exported history.", f'It has no "format": "{FORMAT}".', _AGAIN)
    if document.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            "This was exported by another version of medqa-tui.",
            f"It has schema_version {document.get('schema_version')!r}; "
            f"this program reads {SCHEMA_VERSION}.",
            "Update medqa-tui, then import it again.",
        )
    entries = document.get("entries")
    if not isinstance(entries, list):
        raise UsageError("This exported history is not whole.", "It has no entries.", _AGAIN)
    return entries


def _row(entry: Any, number: int) -> dict[str, Any]:
    """Return an entry as a row of the history.

    Raises:
        UsageError: It is not whole.
    """
    if not isinstance(entry, Mapping):
        raise _broken(number, "it is no object")
    texts = {name: _text(entry, name, number) for name in ("question", "text", "advice", "title")}
    for name in ("turn", "session"):
        texts[name] = _text(entry, name, number)
    if not (texts["turn"] and texts["session"] and texts["question"]):
        raise _broken(number, "its turn, session or question is empty")
    status, triage = _text(entry, "status", number), _text(entry, "triage", number)
    if status not in {*AnswerStatus, *Progress}:
        raise _broken(number, f"its status is {status!r}")
    if triage not in set(TriageLevel):
        raise _broken(number, f"its triage is {triage!r}")
    finished = entry.get("finished")
    return {
        **texts,
        "asked": _time(entry.get("asked"), number),
        "finished": None if finished is None else _time(finished, number),
        # Whoever was writing it, it is not this process.
        "status": Progress.INTERRUPTED.value if status == Progress.RUNNING else status,
        "triage": triage,
        "answer": _answer(entry.get("answer"), number),
        "pinned": int(entry.get("pinned") is True),
    }


def _text(entry: Mapping[str, Any], name: str, number: int) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str):
        raise _broken(number, f"its {name} is no text")
    return clean(value, keep_newlines=name != "title")


def _time(value: object, number: int) -> str:
    try:
        found = datetime.fromisoformat(str(value))
        return found.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise _broken(number, f"{value!r} is no time") from error


def _answer(value: object, number: int) -> str | None:
    if value is None:
        return None
    try:
        answer = adapter().validate_json(json.dumps(_cleaned(value)))
    except ValueError as error:
        raise _broken(number, "its answer is not whole") from error
    return str(adapter().dump_json(answer).decode())


def _cleaned(value: Any) -> Any:
    """Return JSON data with every text in it safe to store and to print."""
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {str(key): _cleaned(item) for key, item in value.items()}
        case _:
            return value


def _broken(number: int, reason: str) -> UsageError:
    return UsageError("This exported history is not whole.", f"Entry {number}: {reason}.", _AGAIN)
