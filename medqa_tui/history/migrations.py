"""The history's schema, step by step; `user_version` counts the steps a file has been through."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from medqa_tui.errors import MedQAError

# One entry a version, each a tuple of statements. An entry that was released is never changed:
# what comes later is a new entry at the end. What can be made anew from these tables, such as the
# search index, is no part of them.
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
    (
        "ALTER TABLE turns ADD COLUMN title TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE turns ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX turns_asked ON turns (asked, id)",
        "CREATE INDEX turns_running ON turns (id) WHERE status = 'running'",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
VERSION = len(MIGRATIONS)
BACKUP = ".backup-"


def migrate(connection: sqlite3.Connection, path: Path | None = None) -> None:
    """Bring the file to this program's schema, all steps or none.

    Args:
        path: Where the file lies; a copy is kept beside it until the new schema has been checked,
            and takes its place again if the check fails.

    Raises:
        MedQAError: A later version of the program wrote the file.
        sqlite3.Error: The file is damaged, locked, or cannot be written.
    """
    if _version(connection) == VERSION:
        return
    # Two programs may start at once: the version counts only under the write lock.
    connection.execute("BEGIN IMMEDIATE")
    backup: Path | None = None
    try:
        version = _version(connection)
        if version > VERSION:
            raise MedQAError(
                "The history was written by a later version of medqa-tui.",
                f"It has version {version}; this program knows {VERSION}.",
                "Update medqa-tui, or ask with --no-save.",
            )
        before = _turns(connection) if version else 0
        require_sound(connection)
        if version and path is not None:
            backup = Path(f"{path}{BACKUP}{version}")
            _copy(path, backup)
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        if version and _turns(connection) != before:
            raise sqlite3.DatabaseError("a step lost questions")
    except BaseException:
        connection.rollback()
        if backup is not None:
            remove(backup)
        raise
    connection.commit()
    if backup is not None:
        _check(connection, backup)
        # It holds questions that the user may delete tomorrow.
        remove(backup)


def require_sound(connection: sqlite3.Connection) -> None:
    """Accept a file whose pages hang together.

    Raises:
        sqlite3.DatabaseError: They do not; its code is SQLITE_CORRUPT or SQLITE_NOTADB.
    """
    said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if said != "ok":
        raise corrupt(said)


def corrupt(reason: str) -> sqlite3.DatabaseError:
    """Return the error that SQLite itself raises where it meets damage."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def remove(path: Path) -> None:
    """Overwrite a file that holds questions, and delete it; one that is gone is fine.

    Raises:
        OSError: It cannot be written or deleted.
    """
    try:
        with path.open("r+b") as file:
            file.write(b"\0" * path.stat().st_size)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return


def private(path: Path) -> None:
    """Make `path` an empty file that only its owner may read.

    Raises:
        OSError: It cannot be made.
    """
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _copy(path: Path, backup: Path) -> None:
    private(backup)
    # Readers are let in while the caller holds the write lock.
    with (
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(backup)) as target,
    ):
        source.backup(target)


def _check(connection: sqlite3.Connection, backup: Path) -> None:
    """Put the copy back if the new schema does not hold."""
    try:
        require_sound(connection)
    except sqlite3.DatabaseError:
        connection.rollback()
    else:
        return
    with closing(sqlite3.connect(backup)) as source:
        source.backup(connection)
    remove(backup)
    raise sqlite3.DatabaseError("the new schema did not hold; the file is as it was")


def _turns(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM turns").fetchone()[0])


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
