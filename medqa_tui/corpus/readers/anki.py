"""Anki packages (.apkg): a zip with an SQLite collection, whose notes are read and nothing else."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from medqa_tui.corpus.markup import strip_markup
from medqa_tui.corpus.readers.base import (
    MAX_FILE,
    MAX_ROW,
    TOO_LONG,
    Entry,
    Found,
    MissingLibraryError,
    ReadError,
    ReadOptions,
    Reject,
    Row,
    copy_bounded,
)

# Newest first: a package of a new Anki also holds a collection that only says so.
_COLLECTIONS = ("collection.anki21b", "collection.anki21", "collection.anki2")
_SEPARATOR = "\x1f"
_CLOZE = re.compile(r"\{\{c\d+::(.*?)(?:::[^{}]{0,500})?\}\}", re.DOTALL)
_SOUND = re.compile(r"\[(?:sound|anki):[^\]]{0,500}\]")
_ZSTD_WINDOW = 1 << 27


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield each note under the names of its type's fields, also as `question` and `answer`.

    Raises:
        MissingLibraryError: The package is of a new Anki and zstandard is not installed.
        ReadError: It is no package, or damaged.
    """
    with entry.seekable() as path, tempfile.TemporaryDirectory(prefix="medqa-tui-") as folder:
        collection = Path(folder, "collection.db")
        try:
            with zipfile.ZipFile(path) as package:
                _unpack(package, collection)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ReadError("not an Anki package that can be read") from error
        try:
            yield from _notes(entry.name, collection)
        except sqlite3.DatabaseError as error:
            raise ReadError(f"not an Anki package that can be read: {error}") from error


def _unpack(package: zipfile.ZipFile, collection: Path) -> None:
    names = package.namelist()
    name = next((each for each in _COLLECTIONS if each in names), None)
    if name is None:
        raise ReadError("not an Anki package: it holds no collection")
    with package.open(name) as packed, collection.open("wb") as target:
        if not name.endswith("b"):
            copy_bounded(cast(BinaryIO, packed), target, MAX_FILE)
            return
        try:
            import zstandard
        except ImportError as error:
            raise MissingLibraryError("packages of this Anki", "zstandard") from error
        try:
            unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
            with unpacker.stream_reader(packed) as unpacked:
                copy_bounded(unpacked, target, MAX_FILE)
        except zstandard.ZstdError as error:
            raise ReadError("not an Anki package that can be read") from error


def _notes(where: str, collection: Path) -> Iterator[Found]:
    uri = f"{collection.as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        # Anki's own order of names; its tables cannot be read without one.
        db.create_collation(
            "unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower())
        )
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_FILE)
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        # A view of that name could run for ever.
        if "notes" not in tables:
            raise ReadError("not an Anki package that can be read: it holds no notes")
        fields = _fields(db, tables)
        rows = db.execute(
            "SELECT guid, mid, tags, coalesce(flds, ''), length(coalesce(flds, '')) FROM notes"
            " ORDER BY id"
        )
        for number, (guid, model, tags, values, length) in enumerate(rows, 1):
            if length > MAX_ROW:
                yield Reject(where, number, f"a note {TOO_LONG}")
                continue
            texts = [_plain(value) for value in str(values).split(_SEPARATOR)]
            names = fields.get(str(model), [])
            row = {name.lower(): text for name, text in zip(names, texts, strict=False)}
            row.setdefault("question", texts[0])
            row.setdefault("answer", next((text for text in texts[1:] if text), ""))
            yield Row(where, number, {**row, "id": str(guid), "tags": str(tags).strip()})


def _fields(db: sqlite3.Connection, tables: set[str]) -> dict[str, list[str]]:
    """Return the names of the fields of each type of note."""
    if "fields" in tables:
        found: dict[str, list[str]] = {}
        for model, name in db.execute("SELECT ntid, name FROM fields ORDER BY ntid, ord"):
            found.setdefault(str(model), []).append(str(name))
        return found
    row = db.execute("SELECT models FROM col").fetchone()
    try:
        models = json.loads(row[0]) if row else {}
        return {
            str(key): [str(field["name"]) for field in model["flds"]]
            for key, model in models.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReadError("not an Anki package that can be read: no types of notes") from error


def _plain(value: str) -> str:
    # A gap that never ends would be looked for from each of its beginnings to the end of the text.
    end = value.rfind("}}") + 2
    text = _SOUND.sub("", _CLOZE.sub(r"\1", value[:end]) + value[end:])
    return html.unescape(strip_markup(text)).strip()
