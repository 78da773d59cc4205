"""Plain text: a file is a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from medqa_tui.corpus.readers.base import (
    BAD_ENCODING,
    MAX_ROW,
    TOO_LONG,
    Entry,
    Found,
    ReadOptions,
    Reject,
    Row,
    has_bad_bytes,
    open_text,
)


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the file as one row, called by its name."""
    text = read_text(entry, options)
    if isinstance(text, Reject):
        yield text
    elif text.strip():
        title = PurePosixPath(entry.name).stem.replace("_", " ").replace("-", " ")
        yield Row(entry.name, 1, {"id": entry.name, "title": title, "text": text})


def read_text(entry: Entry, options: ReadOptions) -> str | Reject:
    """Return all of a text file, or why it cannot be taken."""
    with open_text(entry, options) as file:
        text = file.read(MAX_ROW)
        if file.read(1):
            return Reject(entry.name, 0, f"a file {TOO_LONG}")
    return Reject(entry.name, 0, BAD_ENCODING) if has_bad_bytes(text) else text
