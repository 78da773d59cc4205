"""Full-text search (SQLite FTS5) over questions, titles and answers.

The index is made from the table of turns and follows it by triggers; it can be dropped and made
anew at any time. See https://www.sqlite.org/fts5.html.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from medqa_tui.errors import UsageError
from medqa_tui.history.entry import COLUMNS, Entry, read_entry

TABLE = "turns_search"
# What a growing answer holds on its way is not indexed: it would leave its words behind.
_PARTS = {
    TABLE: (
        "CREATE VIRTUAL TABLE turns_search USING fts5"
        " (title, question, answer, tokenize = 'porter unicode61 remove_diacritics 2')"
    ),
    "turns_search_insert": """
        CREATE TRIGGER turns_search_insert AFTER INSERT ON turns BEGIN
            INSERT INTO turns_search (rowid, title, question, answer)
            VALUES (new.id, new.title, new.question, new.text);
        END
        """,
    "turns_search_update": """
        CREATE TRIGGER turns_search_update AFTER UPDATE OF title, question, text, status ON turns
        WHEN new.status != 'running' BEGIN
            DELETE FROM turns_search WHERE rowid = old.id;
            INSERT INTO turns_search (rowid, title, question, answer)
            VALUES (new.id, new.title, new.question, new.text);
        END
        """,
    "turns_search_delete": """
        CREATE TRIGGER turns_search_delete AFTER DELETE ON turns BEGIN
            DELETE FROM turns_search WHERE rowid = old.id;
        END
        """,
}
# A word in the title counts four times, one in the question three times a word of the answer.
_WEIGHTS = "4.0, 3.0, 1.0"
_MARKS = ("\x02", "\x03")  # cleaned out of every text that is kept
_SNIPPET_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found.

    Attributes:
        snippet: The part of its answer, or else of its question, that was found; one line.
        marks: Where in the snippet the words are, as (start, end).
        score: BM25; higher is better.
    """

    entry: Entry
    snippet: str
    marks: tuple[tuple[int, int], ...]
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first.

    Attributes:
        total: How many entries match, which may be more than were asked for.
        all_words: Whether they hold every word; False where none does and some words had to do.
    """

    hits: tuple[Hit, ...]
    total: int
    all_words: bool = True


def is_available(connection: sqlite3.Connection) -> bool:
    """Return whether this Python's SQLite was built with FTS5; nearly every one is."""
    return (
        connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
        is not None
    )


def ensure(connection: sqlite3.Connection) -> None:
    """Make the index if it is not there; take its triggers away where nothing can serve them."""
    present = _present(connection)
    if is_available(connection):
        if present != set(_PARTS):
            rebuild(connection)
    elif present - {TABLE}:
        for name in present - {TABLE}:
            connection.execute(f"DROP TRIGGER {name}")
        connection.commit()


def rebuild(connection: sqlite3.Connection) -> None:
    """Make the index anew from the turns, in one transaction."""
    if connection.in_transaction:
        connection.commit()
    connection.execute("BEGIN IMMEDIATE")
    try:
        for name in _present(connection):
            kind = "TABLE" if name == TABLE else "TRIGGER"
            connection.execute(f"DROP {kind} {name}")
        for statement in _PARTS.values():
            connection.execute(statement)
        connection.execute(
            "INSERT INTO turns_search (rowid, title, question, answer)"
            " SELECT id, title, question, text FROM turns"
        )
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def forget(connection: sqlite3.Connection) -> None:
    """Take the words of deleted turns out of the index as well, in the caller's transaction.

    FTS5 only marks them as deleted until it merges; merging everything drops them.
    """
    if TABLE in _present(connection):
        connection.execute("INSERT INTO turns_search (turns_search) VALUES ('optimize')")


def is_sound(connection: sqlite3.Connection) -> bool:
    """Return whether the index agrees with itself and with the turns; True if there is none.

    The caller has no transaction open. A file that may only be read is not looked at.
    """
    if TABLE not in _present(connection):
        return True
    if not is_available(connection):
        return True
    try:
        connection.execute("INSERT INTO turns_search (turns_search) VALUES ('integrity-check')")
        indexed = connection.execute(
            "SELECT count(*) FROM turns_search JOIN turns ON turns.id = turns_search.rowid"
        ).fetchone()
        kept = connection.execute("SELECT count(*) FROM turns").fetchone()
    except sqlite3.DatabaseError as error:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY:
                raise
            case sqlite3.SQLITE_READONLY:
                return True
        return False
    finally:
        connection.rollback()
    return bool(indexed == kept)


def terms(text: str) -> tuple[str, ...]:
    """Return what is searched for, as FTS5 strings: words, and phrases in double quotes.

    Nothing in `text` is an operator of FTS5, except that a word may end in `*` for any ending.

    Raises:
        UsageError: It holds no word.
    """
    found = []
    for phrase, word in re.findall(r'"([^"]*)"?|([^\s"]+)', text):
        said = phrase or word
        if not any(letter.isalnum() for letter in said):
            continue
        prefix = "*" if word.endswith("*") else ""
        found.append('"' + said.rstrip("*").replace("\0", " ") + '"' + prefix)
    if not found:
        raise UsageError(
            "There is no word to search for.", f"{text!r}.", "medqa-tui history search asthma"
        )
    return tuple(found)


def search(
    connection: sqlite3.Connection, wanted: tuple[str, ...], limit: int, since: str = ""
) -> Found:
    """Return the best `limit` entries that hold all `wanted` terms, or else any of them.

    Args:
        wanted: From `terms`.
        since: Only entries asked at this ISO time (UTC) or later.

    Raises:
        UsageError: This Python's SQLite cannot search.
    """
    if not is_available(connection):
        raise UsageError(
            "This Python's SQLite cannot search texts.",
            "It was built without FTS5.",
            "medqa-tui history list",
        )
    for joint in (" AND ", " OR "):
        values = (joint.join(wanted), since)
        total = connection.execute(
            "SELECT count(*) FROM turns_search JOIN turns ON turns.id = turns_search.rowid"
            " WHERE turns_search MATCH ? AND asked >= ?",
            values,
        ).fetchone()[0]
        if total:
            break
    found = connection.execute(_query(), (*_MARKS, *_MARKS, *values, limit))
    hits = tuple(_hit(row) for row in found.fetchall())
    return Found(hits, int(total), all_words=joint == " AND " or len(wanted) == 1)


def _query() -> str:
    columns = ", ".join(f"turns.{name.strip()}" for name in COLUMNS.split(","))
    snippet = f"snippet(turns_search, {{}}, ?, ?, '…', {_SNIPPET_TOKENS})"
    return (
        f"SELECT {columns}, {snippet.format(2)}, {snippet.format(1)},"  # noqa: S608 - our own names
        f" bm25(turns_search, {_WEIGHTS}) AS score"
        " FROM turns_search JOIN turns ON turns.id = turns_search.rowid"
        " WHERE turns_search MATCH ? AND asked >= ? ORDER BY score, turns.id DESC LIMIT ?"
    )


def _hit(row: tuple[object, ...]) -> Hit:
    *values, answer, question, score = row
    start, end = _MARKS
    # Where only the title holds the words, the answer's snippet is its beginning.
    parts = (str(answer), str(question))
    chosen = next((part for part in parts if start in part), parts[0] or parts[1])
    plain, marks = "", []
    for piece in re.split(f"({start}[^{end}]*{end})", " ".join(chosen.split())):
        if piece.startswith(start):
            piece = piece[1:-1]  # noqa: PLW2901 - without its marks
            marks.append((len(plain), len(plain) + len(piece)))
        plain += piece
    return Hit(read_entry(values), plain, tuple(marks), -float(str(score)))


def _present(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')")
    return {str(name) for (name,) in rows} & set(_PARTS)
