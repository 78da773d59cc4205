"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from medqa_tui.corpus.readers.base import (
    BAD_ENCODING,
    TOO_LONG,
    Entry,
    Found,
    ReadOptions,
    Reject,
    Row,
    has_bad_bytes,
    lines,
    open_text,
)


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the rows of a JSON Lines file; memory holds one line at a time."""
    with open_text(entry, options) as text:
        for number, line in lines(text):
            if line is None:
                yield Reject(entry.name, number, f"a line {TOO_LONG}")
            elif line.strip():
                yield _found(entry.name, number, line)


def _found(where: str, number: int, line: str) -> Found:
    if has_bad_bytes(line):
        return Reject(where, number, BAD_ENCODING)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Reject(where, number, "not valid JSON", str(error))
    return row_of(where, number, value)


def row_of(where: str, number: int, value: Any) -> Found:
    """Return a JSON value as a row, if it is an object."""
    if not isinstance(value, dict):
        return Reject(where, number, "not a JSON object")
    return Row(where, number, value)
