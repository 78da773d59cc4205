"""Small Anki packages in the old form and in the new one."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from pathlib import Path

NOTES = (
    ("guid-1", "What is <b>asthma</b>?", "A disease of the airways.<br>[sound:a.mp3]It wheezes."),
    ("guid-2", "The {{c1::pancreas::organ}} makes {{c2::insulin}}.", ""),
)


def write_old(path: Path) -> Path:
    """Write a package of `collection.anki2` whose types of notes are JSON."""
    collection = path.with_suffix(".db")
    models = {"7": {"flds": [{"name": "Front"}, {"name": "Back"}]}}
    with sqlite3.connect(collection) as db:
        db.execute("CREATE TABLE col (id INTEGER, models TEXT)")
        db.execute("INSERT INTO col VALUES (1, ?)", (json.dumps(models),))
        _notes(db)
    return _pack(path, {"collection.anki2": collection.read_bytes()}, collection)


def write_new(path: Path) -> Path:
    """Write a package of `collection.anki21b`, with the stub that old programs find."""
    import zstandard

    collection = path.with_suffix(".db")
    with sqlite3.connect(collection) as db:
        db.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        db.execute(
            "CREATE TABLE fields (ntid INTEGER, ord INTEGER, name TEXT COLLATE unicase,"
            " PRIMARY KEY (ntid, ord)) WITHOUT ROWID"
        )
        db.executemany("INSERT INTO fields VALUES (7, ?, ?)", [(0, "Front"), (1, "Back")])
        _notes(db)
    packed = zstandard.ZstdCompressor().compress(collection.read_bytes())
    files = {"collection.anki2": b"please update", "collection.anki21b": packed}
    return _pack(path, files, collection)


def _notes(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, guid TEXT, mid INTEGER, tags TEXT, flds TEXT)"
    )
    for number, (guid, *fields) in enumerate(NOTES):
        row = (number, guid, 7, " lungs ", "\x1f".join(fields))
        db.execute("INSERT INTO notes VALUES (?, ?, ?, ?, ?)", row)


def _pack(path: Path, files: dict[str, bytes], collection: Path) -> Path:
    with zipfile.ZipFile(path, "w") as package:
        for name, data in {**files, "media": b"{}"}.items():
            package.writestr(name, data)
    collection.unlink()
    return path
