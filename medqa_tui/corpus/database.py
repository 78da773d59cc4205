"""The SQLite file under the passage store: opened, migrated, shared by threads, errors in words."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from medqa_tui import paths
from medqa_tui.corpus import schema
from medqa_tui.errors import MedQAError

BUSY_MS = 5000
REBUILD = "medqa-tui corpus update --rebuild"

# The folder, the file or the whole file system may be closed to this user.
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class CorpusDatabase:
    """One connection to the passage store; safe to share between the threads of a process.

    A file that this user may not write is opened for reading.

    Args:
        path: The file; it is created, with mode 0600, when it is not there.
        read_only: Whether it must only be read; nothing is created then.

    Raises:
        MedQAError: The file is corrupt, of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.read_only = read_only or not _may_write(path)
        with self.errors():
            self.connection = self._reading() if self.read_only else _connect(path)
        try:
            with self.errors():
                self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def _reading(self) -> sqlite3.Connection:
        """Open for reading; where not even SQLite's own files beside it can be made, as it lies."""
        address = self.path.absolute().as_uri()
        try:
            return _reader(f"{address}?mode=ro")
        except sqlite3.OperationalError:
            return _reader(f"{address}?mode=ro&immutable=1")

    def _prepare(self) -> None:
        db = self.connection
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        # What is deleted is overwritten.
        db.execute("PRAGMA secure_delete = ON")
        if not self.read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            if schema.version(db) < schema.SCHEMA_VERSION:
                with self.write():
                    schema.migrate(db)
        version = schema.version(db)
        if version > schema.SCHEMA_VERSION:
            raise MedQAError(
                "The passage store was written by a newer medqa-tui.",
                f"{self.path} has version {version}; this program knows {schema.SCHEMA_VERSION}.",
                "Upgrade medqa-tui, or move the file away and type: medqa-tui setup",
            )
        if version < schema.SCHEMA_VERSION:
            raise MedQAError(
                "The passage store was written by an older medqa-tui and cannot be changed here.",
                f"{self.path} has version {version}; {schema.SCHEMA_VERSION} is needed.",
                "Make the file writable, then try again.",
            )

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self.connection.close()

    def all(self, query: str, parameters: Sequence[str | int] = ()) -> list[Any]:
        """Return every row of `query`."""
        with self.lock, self.errors(), closing(self.connection.execute(query, parameters)) as rows:
            return rows.fetchall()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the one transaction that may write; whatever is raised undoes it.

        Raises:
            MedQAError: The file was opened for reading.
        """
        if self.read_only:
            raise MedQAError(
                "The passage store cannot be changed: it is read-only.",
                f"{self.path}.",
                "Check the permissions of the file and its folder, or set MEDQA_HOME.",
            )
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def wipe_log(self) -> bool:
        """Empty the write-ahead log, which may hold pages from before a deletion.

        Returns:
            Whether it is empty; it stays while another connection reads what was before.
        """
        with self.lock, self.errors():
            row = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(row[0] == 0)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into words."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.OperationalError as error:
            raise self._in_words(error) from error
        except sqlite3.DatabaseError as error:
            raise MedQAError(
                "The passage store is damaged.", f"{self.path}: {error}.", REBUILD
            ) from error

    def _in_words(self, error: sqlite3.OperationalError) -> MedQAError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            title = "Another process is writing the passage store."
            hint = "Wait until it is done, then try again."
        elif name.startswith("SQLITE_FULL"):
            title = "The disk is full."
            hint = "Free some space, then give the same command again: nothing was changed."
        else:
            title = "The passage store could not be used."
            hint = "Check the free disk space and the permissions of the file."
        return MedQAError(title, f"{self.path}: {error}.", hint)


def _connect(target: Path | str, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(target, isolation_level=None, check_same_thread=False, uri=uri)


def _reader(address: str) -> sqlite3.Connection:
    db = _connect(address, uri=True)
    try:
        # The file is opened by the first look at it.
        schema.version(db)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _may_write(path: Path) -> bool:
    """Say whether `path` can be written, creating it where it is not there.

    Raises:
        MedQAError: It is not there and cannot be created.
    """
    try:
        paths.ensure(path.parent)
        # SQLite gives its -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        if error.errno in _READ_ONLY and path.is_file():
            return False
        raise MedQAError(
            "The passage store could not be opened.",
            f"{path}: {error.strerror or error}.",
            "Check the permissions of the file and the free disk space.",
        ) from error
    # SQLite needs to make its own files beside it.
    return os.access(path.parent, os.W_OK)
