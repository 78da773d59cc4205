"""CSV and TSV, with a header line; a quoted field may hold line breaks."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from medqa_tui.corpus.readers.base import (
    BAD_ENCODING,
    MAX_ROW,
    TOO_LONG,
    Entry,
    Found,
    ReadError,
    ReadOptions,
    Reject,
    Row,
    has_bad_bytes,
    lines,
    open_text,
)

_DELIMITERS = ",;\t|"
_SHOWN = 80


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the rows of a CSV or TSV file under the names of its first line."""
    # The limit is the module's, for all readers of the process.
    csv.field_size_limit(MAX_ROW)
    with open_text(entry, options) as text:
        source = _Lines(text)
        try:
            delimiter = "\t" if entry.suffix in (".tsv", ".tab") else source.delimiter()
            rows = csv.reader(source, delimiter=delimiter)
            header = [name.strip() for name in next(rows, [])]
        except csv.Error as error:
            raise ReadError(f"not valid CSV: {error}") from error
        _check(header)
        start = rows.line_num
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                # The reader cannot know where the next row begins.
                yield Reject(
                    entry.name, start + 1, "not valid CSV: the rest is not read", str(error)
                )
                return
            line, start = start + 1, rows.line_num
            if any(cell.strip() for cell in cells):
                yield _row(entry.name, line, header, cells)


def _check(header: list[str]) -> None:
    if not any(header):
        raise ReadError("the first line holds no column names")
    if has_bad_bytes("".join(header)):
        raise ReadError(BAD_ENCODING)
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise ReadError(f"two columns are called {twice[0][:_SHOWN]!r}")


def _row(where: str, line: int, header: list[str], cells: list[str]) -> Found:
    if len(cells) > len(header):
        words = f"{len(cells)} cells under {len(header)} column names"
        return Reject(where, line, "more cells than columns", words)
    if has_bad_bytes("".join(cells)):
        return Reject(where, line, BAD_ENCODING)
    return Row(where, line, dict(zip(header, cells, strict=False)))


class _Lines:
    """The lines of a text, none longer than a row may be, with a look at the first."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._lines = lines(text)
        self._first: str | None = None

    def delimiter(self) -> str:
        """Return what parts the first line into the most cells."""
        self._first = next(self, "")
        return max(_DELIMITERS, key=self._first.count)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        _, line = next(self._lines)
        if line is None:
            raise csv.Error(f"a line is {TOO_LONG}")
        return line
