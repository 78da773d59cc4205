"""The history's schema, step by step; `user_version` counts the steps a file has been through."""

from __future__ import annotations

import sqlite3

from medqa_tui.errors import MedQAError

# One entry a version, each a tuple of statements. An entry that was released is never changed:
# what comes later (search, titles, pins) is a new entry at the end.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            started TEXT NOT NULL
        )
        """,
        # AUTOINCREMENT: the number of a deleted entry never comes back as another one's.
        """
        CREATE TABLE turns (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            turn TEXT NOT NULL UNIQUE,
            session TEXT NOT NULL REFERENCES sessions (id),
            asked TEXT NOT NULL,
            finished TEXT,
            status TEXT NOT NULL,
            question TEXT NOT NULL,
            text TEXT NOT NULL DEFAULT '',
            triage TEXT NOT NULL DEFAULT 'none',
            advice TEXT NOT NULL DEFAULT '',
            answer TEXT,
            writer TEXT NOT NULL
        )
        """,
        "CREATE INDEX turns_session ON turns (session, id)",
    ),
)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this program's schema, each step whole or not at all.

    Raises:
        MedQAError: A later version of the program wrote the file.
        sqlite3.Error: The file is damaged, locked, or cannot be written.
    """
    if _version(connection) == VERSION:
        return
    # Two programs may start at once: the version counts only under the write lock.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > VERSION:
            raise MedQAError(
                "The history was written by a later version of medqa-tui.",
                f"It has version {version}; this program knows {VERSION}.",
                "Update medqa-tui, or ask with --no-save.",
            )
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
