"""Rows read straight from the pages of a damaged SQLite file.

Only leaf pages of tables are read, so neither the header, the schema, the inner pages nor the
indexes have to be whole; and since deleted rows are overwritten (secure_delete), none comes back.
The format: https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LEAF = 0x0D
_HEADER = 100
_USUAL_SIZE = 4096
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value = str | int | float | bytes | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of some table, with as many of its values as could be read."""

    rowid: int
    values: tuple[Value, ...]


def carve(path: Path) -> Iterator[Row]:
    """Yield every row that can still be read, in the order of the pages.

    Raises:
        OSError: The file cannot be read.
    """
    pages = _Pages(path.read_bytes())
    for number in range(1, pages.count + 1):
        yield from pages.rows(number)


class _Pages:
    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[16:18], "big")
        size = 65536 if size == 1 else size
        # A header that makes no sense is damaged as well.
        usual = size >= 512 and size & (size - 1) == 0 and len(data) >= size
        self._size = size if usual else _USUAL_SIZE
        self._usable = self._size - (data[20] if usual and data[20] <= 32 else 0)
        self._data = data
        self.count = -(-len(data) // self._size)

    def rows(self, number: int) -> Iterator[Row]:
        """Yield the rows of a page, if it is a leaf of a table."""
        page = self._page(number)
        start = _HEADER if number == 1 else 0
        if len(page) < start + 8 or page[start] != _LEAF:
            return
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        for index in range(min(cells, self._size // 4)):
            at = start + 8 + 2 * index
            row = self._row(page, int.from_bytes(page[at : at + 2], "big"))
            if row is not None:
                yield row

    def _page(self, number: int) -> bytes:
        return self._data[(number - 1) * self._size : number * self._size]

    def _row(self, page: bytes, at: int) -> Row | None:
        try:
            length, at = _varint(page, at)
            rowid, at = _varint(page, at)
            return Row(rowid, _values(self._payload(page, at, length)))
        except (IndexError, ValueError):
            return None

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        """Return what a row holds, or as much of it as its chain of pages still gives."""
        if not 0 < length <= len(self._data):
            raise ValueError("no length of a row")
        most = self._usable - 35
        if length <= most:
            return page[at : at + length]
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (self._usable - 4)
        local = local if local <= most else least
        payload = page[at : at + local]
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        while len(payload) < length and 1 < following <= self.count:
            overflow = self._page(following)
            payload += overflow[4 : self._usable]
            following = int.from_bytes(overflow[:4], "big")
        return payload[:length]


def _values(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    at = end
    for kind in kinds:
        size = _size(kind)
        if at + size > len(payload):
            break
        values.append(_value(kind, payload[at : at + size]))
        at += size
    return tuple(values)


def _size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    if kind in (10, 11):
        raise ValueError("no kind of a value")
    return 8 if kind == 7 else _INTEGERS.get(kind, 0)


def _value(kind: int, data: bytes) -> Value:
    if kind >= 12:
        return data.decode("utf-8", "replace") if kind % 2 else data
    if kind in (8, 9):
        return kind - 8
    if kind == 7:
        import struct

        return float(struct.unpack(">d", data)[0])
    return int.from_bytes(data, "big", signed=True) if kind else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer at `at`, of up to nine bytes, and where it ends."""
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9
