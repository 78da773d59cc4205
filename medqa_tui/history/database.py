"""The history's file: opened for its owner alone, moved aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from medqa_tui.errors import MedQAError
from medqa_tui.history.migrations import migrate
from medqa_tui.paths import ensure

Result = TypeVar("Result")
Tell = Callable[[str], None]

# Two front ends may write at once; each write takes milliseconds.
BUSY_S = 10.0
_DAMAGED = ".damaged-"
_BESIDE = ("-journal", "-wal", "-shm")


class Database:
    """One SQLite file, opened when first used, from any thread.

    Args:
        path: Made with mode 0600, its folder with 0700.
        tell: Hears what the user should know, such as that a damaged file was moved aside.
    """

    def __init__(self, path: Path, tell: Tell | None = None) -> None:
        self.path = path
        self._tell = tell
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` makes of the connection; commit if it returns, else roll back.

        A damaged file is moved aside, the user is told, and the work is done on a new one.

        Raises:
            MedQAError: The file cannot be opened or written.
        """
        with self._lock:
            try:
                return self._attempt(work)
            except sqlite3.DatabaseError as error:
                if not (_is_damage(error) or _was_moved(error)):
                    raise _in_words(error, self.path) from error
            except OSError as error:
                raise _in_words(error, self.path) from error
            try:
                self._recover()
                return self._attempt(work)
            except (sqlite3.DatabaseError, OSError) as error:
                raise _in_words(error, self.path) from error

    def close(self) -> None:
        """Let go of the file; using it again opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def set_aside(self) -> tuple[Path, ...]:
        """Return the damaged files that were moved aside earlier."""
        return tuple(sorted(self.path.parent.glob(f"{self.path.name}{_DAMAGED}*")))

    def _attempt(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._connection is None:
            self._connection = self._open()
        try:
            result = work(self._connection)
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()
        return result

    def _open(self) -> sqlite3.Connection:
        ensure(self.path.parent)
        # SQLite gives its journal the mode of the file, so the file gets its mode first.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.name == "posix" and stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        connection = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            # Sorting and VACUUM must leave no copy of a question in a temporary folder.
            connection.execute("PRAGMA temp_store = MEMORY")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _recover(self) -> None:
        from filelock import FileLock, Timeout

        # Opening it again is all it takes where another process moved the file away.
        self.close()
        lock = FileLock(str(self.path) + ".lock", timeout=BUSY_S, mode=0o600)
        try:
            with lock:
                # Another process may have moved it aside while this one waited.
                if self.path.exists() and not _is_sound(self.path):
                    self._move_aside()
        except Timeout as error:
            raise sqlite3.OperationalError("database is locked") from error

    def _move_aside(self) -> None:
        now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        aside = self.path.with_name(f"{self.path.name}{_DAMAGED}{now}")
        self.path.rename(aside)
        for suffix in _BESIDE:
            beside = Path(f"{self.path}{suffix}")
            if beside.exists():
                beside.rename(f"{aside}{suffix}")
        if self._tell is not None:
            self._tell(f"The history was damaged. It is kept in {aside}, and a new one was begun.")


def _is_sound(path: Path) -> bool:
    connection = sqlite3.connect(path, timeout=BUSY_S)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        return not _is_damage(error)
    finally:
        connection.close()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # The primary code is in the lower byte of the extended one (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _was_moved(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED


def _in_words(error: sqlite3.Error | OSError, path: Path) -> MedQAError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or "locked" in str(error):
        return MedQAError(
            "The history is in use by another program.",
            f"{path}.",
            "Try again in a moment, or ask with --no-save.",
        )
    if code == sqlite3.SQLITE_FULL:
        return MedQAError(
            "The disk is full.", f"{path}.", "Free some space, or ask with --no-save."
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return MedQAError(
        "The history cannot be used.",
        f"{path}: {reason}.",
        "Check it with: medqa-tui doctor, or ask with --no-save.",
    )
