"""What the commands of `medqa-tui history` share: opening it, finding an entry, telling of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import diagnostics
from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.history.store import Entry, HistoryStore

Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="Only what was asked since: 7d, 12h, yesterday, 2026-03-01.",
    ),
]


def open_store() -> HistoryStore:
    """Return the history of this user; nothing is opened yet."""
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.paths import get_paths

    return HistoryStore(get_paths().history_db, diagnostics.warn)


def find(store: HistoryStore, id: int | None) -> Entry:
    """Return the entry of that number, or the latest one, with its whole answer.

    Raises:
        MedQAError: There is none.
    """
    entry = store.latest() if id is None else store.get(id)
    if entry is None and id is None:
        raise MedQAError("The history is empty.", "", 'medqa-tui ask "..."')
    if entry is None:
        raise MedQAError(
            "There is no such question in the history:", f"{id}.", "medqa-tui history list"
        )
    return entry


def parse_since(since: str | None) -> str:
    """Return the time that `--since` means, or nothing where it was not given.

    Raises:
        UsageError: It means no time.
    """
    if since is None:
        return ""
    from medqa_tui.history.since import parse

    return parse(since)


def local(asked: str) -> str:
    """Return an ISO time in the user's time zone, to the minute."""
    from medqa_tui.history.facts import local_time

    return local_time(asked)


def status(entry: Entry) -> str:
    """Return how an entry ended, in words, and whether it is pinned."""
    said = entry.status.value.replace("_", " ")
    return f"{said}, pinned" if entry.pinned else said


def row(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON data, without its answer."""
    return {
        "id": entry.id,
        "session": entry.session,
        "asked": entry.asked,
        "finished": entry.finished,
        "status": entry.status.value,
        "triage": entry.triage.value,
        "title": entry.title,
        "pinned": entry.pinned,
        "question": entry.question,
    }
