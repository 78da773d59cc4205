"""The tables of the passage store, and how an older file becomes one of today's."""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 2

_VERSION_1 = """
CREATE TABLE corpora (
    name TEXT PRIMARY KEY,
    licence TEXT,
    attribution TEXT,
    revision TEXT,
    date TEXT,
    fingerprint TEXT NOT NULL,
    passages INTEGER NOT NULL
) STRICT;
CREATE TABLE passages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    corpus TEXT NOT NULL REFERENCES corpora(name),
    document TEXT NOT NULL,
    title TEXT NOT NULL,
    question TEXT,
    text TEXT NOT NULL,
    source TEXT,
    url TEXT,
    licence TEXT,
    date TEXT,
    phrasings TEXT NOT NULL,
    content_hash TEXT NOT NULL
) STRICT;
CREATE INDEX passages_by_corpus ON passages(corpus, seq)
"""

# What a corpus was read from, so that it can be read again, and what was left out on the way.
_VERSION_2 = """
ALTER TABLE corpora ADD COLUMN documents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE corpora ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE corpora ADD COLUMN left_out TEXT NOT NULL DEFAULT '{}';
ALTER TABLE corpora ADD COLUMN updated TEXT;
UPDATE corpora SET documents =
    (SELECT count(DISTINCT document) FROM passages WHERE corpus = corpora.name)
"""

_STEPS = (_VERSION_1, _VERSION_2)


def version(db: sqlite3.Connection) -> int:
    """Return the version of the tables in `db`; 0 is an empty file."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Bring `db` to today's version; for who is in a transaction that may write."""
    for number, step in enumerate(_STEPS, 1):
        # Another process may have been faster.
        if version(db) < number:
            for statement in step.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
