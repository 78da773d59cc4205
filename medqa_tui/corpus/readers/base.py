"""What every reader takes and gives: an entry in, rows and rejects out, all of bounded size."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medqa_tui.errors import MedQAError

MAX_ROW = 16 << 20
"""Bytes that one row may have: far more than any text worth citing, far less than memory."""

MAX_FILE = 1 << 30
"""Bytes that a file may unpack to where it must be unpacked as a whole."""

_PIECE = 1 << 20
_MAX_SKIPPED = 64 << 20
# A gzip member of zeros grows a thousandfold; text grows tenfold at most.
_MAX_RATIO = 200
_RATIO_FROM = 64 << 20
BOMB = "unpacks to far more than text does: refused"
# How `surrogateescape` keeps a byte that is no UTF-8.
_BAD_BYTES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        where: Its file, relative to the source.
        line: Its line, row or page in that file, from 1.
        fields: Its values by column.
    """

    where: str
    line: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row or file that is not taken, and why.

    Attributes:
        line: As of `Row`; 0 means the file as a whole.
        reason: The same words for the same fault, so that they can be counted.
        detail: What is special about this one.
    """

    where: str
    line: int
    reason: str
    detail: str = ""


Found = Row | Reject


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are to be read.

    Attributes:
        encoding: The encoding of text; empty means UTF-8, or what a byte-order mark says.
    """

    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a source: on the disk, or inside an archive.

    Attributes:
        name: Its path, relative to the source, with slashes.
        size: Its bytes, as far as known.
        opener: Opens it for reading from its start.
        path: Where it lies, if it is a file of its own.
    """

    name: str
    size: int
    opener: Callable[[], BinaryIO]
    path: Path | None = None

    @property
    def suffix(self) -> str:
        """The ending that names its kind, in small letters, without `.gz`."""
        return Path(self.name.lower().removesuffix(".gz")).suffix

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yield its bytes; a `.gz` is unpacked on the way.

        Raises:
            ReadError: It is packed far tighter than text can be.
        """
        with self.opener() as raw:
            if self.name.lower().endswith(".gz"):
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield io.BufferedReader(_Bounded(unpacked, self.size), _PIECE)
            else:
                yield raw

    @contextmanager
    def seekable(self, limit: int = MAX_FILE) -> Iterator[Path]:
        """Yield a path to its bytes; what lies in an archive is copied beside, for a while.

        Raises:
            ReadError: It has more than `limit` bytes.
        """
        if self.path is not None and not self.name.lower().endswith(".gz"):
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="medqa-tui-") as folder:
            copy = Path(folder, "copy")
            with self.open() as source, copy.open("wb") as target:
                copy_bounded(source, target, limit)
            yield copy


class ReadError(Exception):
    """A file cannot be read any further; its words become the reason of a reject."""


class MissingLibraryError(MedQAError):
    """Reading this kind of file takes a library that is not installed."""

    def __init__(self, kind: str, library: str) -> None:
        super().__init__(
            f"Reading {kind} takes a library that is not installed.",
            f"{library}.",
            "pip install 'medqa-tui[corpora]'",
        )


class _Bounded(io.RawIOBase):
    """Unpacked bytes, of which no bomb gets far."""

    def __init__(self, unpacked: gzip.GzipFile, packed: int) -> None:
        self._unpacked = unpacked
        self._most = max(_RATIO_FROM, packed * _MAX_RATIO)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._unpacked.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        if self._read > self._most:
            raise ReadError(BOMB)
        return len(data)


def copy_bounded(source: BinaryIO, target: BinaryIO, limit: int) -> None:
    """Copy at most `limit` bytes.

    Raises:
        ReadError: There are more.
    """
    left = limit
    while piece := source.read(min(_PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            raise ReadError(f"unpacks to more than {limit >> 20} MB")
        target.write(piece)


def read_bounded(entry: Entry, limit: int = MAX_ROW) -> bytes:
    """Return all of a small file.

    Raises:
        ReadError: It has more than `limit` bytes.
    """
    buffer = io.BytesIO()
    with entry.open() as source:
        copy_bounded(source, buffer, limit)
    return buffer.getvalue()


def encoding_of(start: bytes, options: ReadOptions) -> str:
    """Return the encoding of a text that begins with `start`.

    Raises:
        ReadError: It is no text.
    """
    if options.encoding:
        return options.encoding
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return name
    if b"\x00" in start:
        raise ReadError("not text, or in another encoding (--encoding utf-16?)")
    return "utf-8"


@contextmanager
def open_text(entry: Entry, options: ReadOptions) -> Iterator[io.TextIOWrapper]:
    """Yield a file as text; bytes that do not fit the encoding become lone surrogates.

    Raises:
        ReadError: It is no text, or there is no such encoding.
    """
    with entry.open() as source:
        start = source.read(4096)
    encoding = encoding_of(start, options)
    try:
        # A Python codec that is no text encoding, such as hex, would be refused only when used.
        errors = "surrogateescape" if encoding.lower().startswith(("utf-8", "utf8")) else "replace"
        codecs.lookup(encoding)
        "".encode(encoding)
    except LookupError as error:
        raise ReadError(f"there is no encoding called {encoding}") from error
    with entry.open() as source:
        yield io.TextIOWrapper(source, encoding=encoding, errors=errors, newline="")


def has_bad_bytes(text: str) -> bool:
    """Say whether some bytes behind `text` did not fit its encoding."""
    return not text.isascii() and _BAD_BYTES.search(text) is not None


BAD_ENCODING = "not valid UTF-8 (give its encoding: --encoding latin-1)"
TOO_LONG = f"longer than {MAX_ROW >> 20} MB"


def lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str | None]]:
    """Yield (number from 1, line) of `text`; None stands for a line that is too long.

    Raises:
        ReadError: A line is so long that looking for its end is no use.
    """
    number = 0
    while line := text.readline(MAX_ROW):
        number += 1
        if len(line) < MAX_ROW or line.endswith(("\n", "\r")):
            yield number, line
            continue
        skipped = 0
        while (rest := text.readline(MAX_ROW)) and not rest.endswith(("\n", "\r")):
            skipped += len(rest)
            if skipped > _MAX_SKIPPED:
                raise ReadError(f"a line {TOO_LONG}: the rest of the file is not read")
        yield number, None
