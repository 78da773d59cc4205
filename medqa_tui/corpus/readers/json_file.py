"""A JSON file: an array of objects, an object of objects, or one row; read a value at a time."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from medqa_tui.corpus.readers import jsonl
from medqa_tui.corpus.readers.base import (
    BAD_ENCODING,
    MAX_ROW,
    TOO_LONG,
    Entry,
    Found,
    ReadError,
    ReadOptions,
    Reject,
    has_bad_bytes,
    open_text,
)

_PIECE = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")
# What an object's key is called in the row that its value becomes.
KEY = "_key"


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the rows of a JSON file.

    An array gives its items; an object whose values are objects gives those, with their keys as
    `_key`; an object that holds an array of objects gives that array; any other object is a row.
    Lines of objects in a `.json` file are read as JSON Lines. Memory holds a value at a time.
    """
    with open_text(entry, options) as text:
        values = _Values(text)
        opening = values.peek()
        if opening == "{" and _is_lines(entry, options):
            yield from jsonl.read(entry, options)
        elif opening == "[":
            yield from _array(entry.name, values)
        elif opening == "{":
            yield from _object(entry.name, values)
        elif opening:
            raise ReadError("not valid JSON: it begins with neither [ nor {")


def _is_lines(entry: Entry, options: ReadOptions) -> bool:
    with open_text(entry, options) as text:
        first, second = text.readline(MAX_ROW), text.readline(2)
    if not second.strip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _array(where: str, values: _Values) -> Iterator[Found]:
    values.take("[")
    number = 0
    while values.peek() != "]":
        number += 1
        yield _row(where, number, values.value())
        if values.peek() == ",":
            values.take(",")
        elif values.peek() != "]":
            raise ReadError("not valid JSON: an item ends without a comma")
    values.take("]")


def _object(where: str, values: _Values) -> Iterator[Found]:
    values.take("{")
    number, scalars, rows = 0, dict[str, Any](), 0
    while values.peek() == '"':
        key = values.value()
        values.take(":")
        opening = values.peek()
        if opening == "[" and values.peek(2) == "[{":
            for found in _array(where, values):
                rows += 1
                yield found
        else:
            number += 1
            value = values.value()
            if isinstance(key, _Bad) or isinstance(value, _Bad):
                yield _row(where, number, _Bad())
            elif opening == "{":
                rows += 1
                yield _row(where, number, {KEY: key, **value})
            else:
                scalars[key] = value
        if values.peek() == ",":
            values.take(",")
    values.take("}")
    if scalars and not rows:
        yield _row(where, 1, scalars)


def _row(where: str, number: int, value: Any) -> Found:
    bad = isinstance(value, _Bad)
    return Reject(where, number, BAD_ENCODING) if bad else jsonl.row_of(where, number, value)


class _Bad:
    """A value with bytes that are not text."""


class _Values:
    """The values of a JSON text, one after another, from a window over it."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._window = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self, count: int = 1) -> str:
        """Return the next `count` characters that are no space, or fewer at the end."""
        found, at = "", self._at
        while len(found) < count:
            at = self._skip(at)
            if at >= len(self._window):
                if not self._fill():
                    break
                at, found = self._at, ""
                continue
            found += self._window[at]
            at += 1
        return found

    def take(self, char: str) -> None:
        """Move past `char`.

        Raises:
            ReadError: Something else stands there.
        """
        if self.peek() != char:
            raise ReadError(f"not valid JSON: {char} is missing")
        self._at = self._skip(self._at) + 1

    def value(self) -> Any:
        """Return the next value, whole.

        Raises:
            ReadError: It is no JSON, or too long to be held.
        """
        self.peek()
        self._at = self._skip(self._at)
        wanted = _PIECE
        while True:
            # A number that the window cuts would be read as a shorter one.
            more = len(self._window) - self._at < wanted and self._fill()
            if more:
                continue
            try:
                value, end = self._decode(self._window, self._at)
            except RecursionError as error:
                raise ReadError("not valid JSON: nested too deeply") from error
            except ValueError as error:
                if len(self._window) - self._at >= MAX_ROW:
                    raise ReadError(f"a value {TOO_LONG}") from error
                if not self._fill():
                    raise ReadError(f"not valid JSON: {error.args[0]}") from error
                # Each try reads all of it again, so the tries become rarer.
                wanted = min(2 * (len(self._window) - self._at), MAX_ROW)
                continue
            raw, self._at = self._window[self._at : end], end
            return _Bad() if has_bad_bytes(raw) else value

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._window, at)
        return found.end() if found else at

    def _fill(self) -> bool:
        piece = self._text.read(_PIECE)
        self._window = self._window[self._at :] + piece
        self._at = 0
        return bool(piece)
