"""The history's file: opened for its owner alone, repaired when it is damaged."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from medqa_tui.errors import MedQAError
from medqa_tui.history import salvage, search, upkeep
from medqa_tui.history.migrations import VERSION, migrate
from medqa_tui.paths import ensure

Result = TypeVar("Result")
Tell = Callable[[str], None]

# Two front ends may write at once; each write takes milliseconds.
BUSY_S = 5.0
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SAVE = "Check it with: medqa-tui doctor, or ask with --no-save."


class Database:
    """One SQLite file, opened when first used, from any thread.

    Args:
        path: Made with mode 0600, its folder with 0700. A file that may only be read is read.
        tell: Hears what the user should know, such as that a damaged file was repaired.
    """

    def __init__(self, path: Path, tell: Tell | None = None) -> None:
        self.path = path
        self._tell = tell
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` makes of the connection; commit if it returns, else roll back.

        A damaged file is repaired, the user is told, and the work is done on the new one.

        Raises:
            MedQAError: The file cannot be opened or written.
        """
        with self._lock:
            try:
                return self._attempt(work)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if isinstance(error, sqlite3.Error) and not _is_repairable(error):
                    raise in_words(error, self.path) from error
            except OSError as error:
                raise in_words(error, self.path) from error
            try:
                self.repair()
                return self._attempt(work)
            except (sqlite3.Error, OSError) as error:
                raise in_words(error, self.path) from error

    def repair(self, sure: bool = False) -> str:
        """Repair the file if it is damaged; return what was done, which the user was told.

        Args:
            sure: It is damaged in a way that a quick check does not find.

        Raises:
            sqlite3.Error: It is locked.
            OSError: Something cannot be read or written.
        """
        from filelock import FileLock, Timeout

        # Opening it again is all it takes where another process moved the file away.
        self.close()
        lock = FileLock(str(self.path) + ".lock", timeout=BUSY_S, mode=0o600)
        try:
            with lock:
                # Another process may have repaired it while this one waited.
                done = salvage.repair(self.path, BUSY_S, sure) if self.path.exists() else ""
        except Timeout as error:
            raise sqlite3.OperationalError("database is locked") from error
        if done and self._tell is not None:
            self._tell(done)
        return done

    def close(self) -> None:
        """Let go of the file; using it again opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _attempt(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._connection is None:
            self._connection = self._open()
        try:
            result = work(self._connection)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        ensure(self.path.parent)
        try:
            self._make_private()
        except OSError as error:
            if error.errno not in _READ_ONLY or not os.access(self.path, os.R_OK):
                raise
            return self._open_read_only()
        connection = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            # Sorting and VACUUM must leave no copy of a question in a temporary folder.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.text_factory = _decode
            migrate(connection, self.path)
            with suppress(sqlite3.OperationalError):
                # A full disk or another writer; what is kept can be read all the same.
                search.ensure(connection)
                upkeep.after_opening(connection)
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_private(self) -> None:
        # SQLite gives its journal the mode of the file, so the file gets its mode first.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.name == "posix" and stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)

    def _open_read_only(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, check_same_thread=False)
        connection.text_factory = _decode
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            connection.close()
            raise MedQAError(
                "The history was written by another version, and may not be changed.",
                f"{self.path}.",
                f'chmod u+w "{self.path.parent}" "{self.path}"',
            )
        return connection


def in_words(error: sqlite3.Error | OSError, path: Path) -> MedQAError:
    """Return an error met while using the history's file as one for the user."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or "locked" in str(error):
        return MedQAError(
            "The history is in use by another program.",
            f"{path}.",
            "Try again in a moment, or ask with --no-save.",
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if code == sqlite3.SQLITE_FULL or full:
        return MedQAError(
            "The disk is full.", f"{path}.", "Free some space, or ask with --no-save."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return MedQAError(
            "The history cannot be written.", f"{path}: its folder or file is read-only.", _NO_SAVE
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return MedQAError("The history cannot be used.", f"{path}: {reason}.", _NO_SAVE)


def _decode(data: bytes) -> str:
    # A damaged letter is shown as one, and the rest of the text stays readable.
    return data.decode("utf-8", "replace")


def _is_repairable(error: sqlite3.Error) -> bool:
    # A file that another process moved away, to repair it, only has to be opened again.
    moved = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED
    return moved or salvage.is_damage(error)
