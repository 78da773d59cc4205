"""A damaged history: what can be read of it goes into a new file, and the old one is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from medqa_tui.history import search
from medqa_tui.history.carve import Row, Value, carve
from medqa_tui.history.migrations import BACKUP, migrate, private, require_sound

_DAMAGED = ".damaged-"
_NEW = ".new"
_BESIDE = ("-journal", "-wal", "-shm")
_FIELDS = (
    "turn", "session", "asked", "finished", "status", "question", "text", "triage", "advice",
    "answer", "writer", "title", "pinned",
)  # fmt: skip
_DEFAULTS: dict[str, Value] = {
    "text": "", "triage": "none", "advice": "", "answer": None, "writer": "", "title": "",
    "pinned": 0,
}  # fmt: skip
# Up to the question: without it there is nothing to keep.
_NEEDED = 7


def is_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """Return whether `error` says that the file's content is wrong."""
    if isinstance(error, UnicodeDecodeError):
        # sqlite3 met a damaged name in the schema, or could not even say what is wrong.
        return True
    # The primary code is in the lower byte of the extended one (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # A damaged search index can also fail as a table that cannot be opened.
    of_index = "fts5" in str(error) or search.TABLE in str(error)
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or of_index


def repair(path: Path, patience: float, sure: bool = False) -> str:
    """Make a damaged file usable again; return what was done, in words, or nothing if it is sound.

    The caller holds the lock that keeps other repairs away. At any moment there is either the
    damaged file or the new, whole one in its place.

    Args:
        patience: Seconds to wait for another program that writes.
        sure: It is damaged in a way that a quick check does not find.

    Raises:
        sqlite3.Error: The file is locked.
        OSError: Something cannot be read or written, such as on a full disk.
    """
    try:
        with closing(sqlite3.connect(path, timeout=patience)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            require_sound(connection)
            if not search.is_sound(connection):
                search.rebuild(connection)
                return "The search index of the history was damaged and has been made anew."
            if not sure:
                return ""
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
    new = Path(f"{path}{_NEW}")
    saved = salvage(path, new)
    aside = _keep(path)
    new.replace(path)
    if not saved:
        told = "Nothing of it could be read, so a new one was begun"
    elif saved == 1:
        told = "One question could be read and was saved"
    else:
        told = f"{saved} questions could be read and were saved"
    return f"The history was damaged. {told}; the damaged file is kept in {aside}."


def salvage(damaged: Path, new: Path) -> int:
    """Write what can be read of `damaged` into the new file `new`; return how many questions.

    Raises:
        sqlite3.Error: `new` cannot be written.
        OSError: One of them cannot be read or written.
    """
    private(new)
    try:
        with closing(sqlite3.connect(new)) as connection:
            migrate(connection)
            search.ensure(connection)
            for row in carve(damaged):
                values = _turn(row)
                if values is not None:
                    _insert(connection, row.rowid, values)
            connection.commit()
            return int(connection.execute("SELECT count(*) FROM turns").fetchone()[0])
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> tuple[Path, ...]:
    """Return the damaged files of `path` that were kept."""
    found = path.parent.glob(f"{path.name}{_DAMAGED}*")
    return tuple(sorted(file for file in found if not file.name.endswith(_BESIDE)))


def leftovers(path: Path) -> tuple[Path, ...]:
    """Return what a killed repair or migration left beside `path`."""
    patterns = (f"{path.name}{_NEW}*", f"{path.name}{BACKUP}*")
    return tuple(sorted(file for pattern in patterns for file in path.parent.glob(pattern)))


def everything_beside(path: Path) -> tuple[Path, ...]:
    """Return every file beside `path` that may hold a question."""
    damaged = path.parent.glob(f"{path.name}{_DAMAGED}*")
    return (*sorted(damaged), *leftovers(path))


def _keep(path: Path) -> Path:
    """Give the damaged file a second name, so that the first can be replaced in one step."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    aside = Path(f"{path}{_DAMAGED}{now}")
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copy2(path, aside)
    for suffix in _BESIDE:
        beside = Path(f"{path}{suffix}")
        if beside.exists():
            beside.rename(f"{aside}{suffix}")
    return aside


def _turn(row: Row) -> dict[str, Value] | None:
    """Return the values of a row that is a question of the history, or None."""
    # The id is stored as the row's number, and its own place is empty.
    if len(row.values) < _NEEDED or row.values[0] is not None or not 0 < row.rowid < 2**63:
        return None
    values = {**_DEFAULTS, **dict(zip(_FIELDS, row.values[1:], strict=False))}
    texts = (*_FIELDS[:3], "status", "question")
    if not all(isinstance(values[name], str) and values[name] for name in texts):
        return None
    if str(values["asked"])[:2] not in ("19", "20"):
        return None
    for name, default in _DEFAULTS.items():
        wanted = int if name == "pinned" else str
        if values[name] is not None and not isinstance(values[name], wanted):
            values[name] = default
        if values[name] is None and default is not None:
            values[name] = default
    if not isinstance(values["finished"], str):
        values["finished"] = None
    return values


def _insert(connection: sqlite3.Connection, rowid: int, values: dict[str, Value]) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO sessions (id, started) VALUES (:session, :asked)", values
    )
    names = ", ".join(_FIELDS)
    marks = ", ".join(f":{name}" for name in _FIELDS)
    connection.execute(
        f"INSERT OR IGNORE INTO turns (id, {names}) VALUES (:id, {marks})",  # noqa: S608 - our names
        {**values, "id": rowid},
    )
