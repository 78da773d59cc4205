"""What is done to the history now and then: checks, what a kill left open, old answers."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

from medqa_tui.history import search
from medqa_tui.history.migrations import require_sound
from medqa_tui.history.writer import is_alive

_CHECKED = "checked"
_EXPIRED = "expired"


def after_opening(connection: sqlite3.Connection) -> None:
    """Look for damage once a day, and whenever a process that wrote here was killed.

    Raises:
        sqlite3.DatabaseError: The file is damaged, locked, or cannot be written.
    """
    dead = killed(connection)
    today = _today()
    if not dead and _get(connection, _CHECKED) == today:
        return
    require_sound(connection)
    if not search.is_sound(connection):
        search.rebuild(connection)
    settle(connection, dead)
    _put(connection, _CHECKED, today)
    connection.commit()


def killed(connection: sqlite3.Connection) -> tuple[int, ...]:
    """Return the ids of the turns that were being answered when their process died."""
    rows = connection.execute("SELECT id, writer FROM turns WHERE status = 'running'").fetchall()
    return tuple(int(id) for id, writer in rows if not is_alive(str(writer)))


def settle(connection: sqlite3.Connection, dead: tuple[int, ...]) -> None:
    """Mark turns as interrupted, which makes what they had said so far searchable."""
    connection.executemany(
        "UPDATE turns SET status = 'interrupted' WHERE id = ? AND status = 'running'",
        [(id,) for id in dead],
    )


def expire(connection: sqlite3.Connection, days: int, now: datetime | None = None) -> int:
    """Delete what is older than `days` (0 keeps all), at most once a day; return how many.

    Pinned entries and those still being answered stay.
    """
    now = now or datetime.now(UTC)
    done = f"{now.date().isoformat()} {days}"
    if days <= 0 or _get(connection, _EXPIRED) == done:
        return 0
    oldest = (now - timedelta(days=days)).isoformat(timespec="seconds")
    gone = connection.execute(
        "DELETE FROM turns WHERE asked < ? AND pinned = 0 AND status != 'running'", (oldest,)
    ).rowcount
    if gone:
        forget(connection)
    _put(connection, _EXPIRED, done)
    return gone


def forget(connection: sqlite3.Connection) -> None:
    """Drop what deleted turns leave behind: their conversations and their words in the index."""
    connection.execute("DELETE FROM sessions WHERE id NOT IN (SELECT session FROM turns)")
    search.forget(connection)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _get(connection: sqlite3.Connection, key: str) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def _put(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
