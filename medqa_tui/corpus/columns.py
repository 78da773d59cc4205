"""Which column of a source is the question, the text, the title and so on: told, or by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from medqa_tui.errors import UsageError

# Names that data sets use, the likeliest first.
_KNOWN: dict[str, tuple[str, ...]] = {
    "question": ("question", "query", "input", "front", "prompt"),
    "answer": (
        *("answer", "answers", "output", "response", "back", "text", "content", "body"),
        *("passage", "abstract", "long_answer", "contexts", "context"),
    ),
    "title": ("title", "focus", "heading", "topic", "name"),
    "url": ("url", "link", "href", "source_url"),
    "id": ("id", "_id", "docid", "doc_id", "document_id", "pmid", "pubid", "guid", "_key"),
    "source": ("source", "publisher", "journal", "site"),
    "date": ("date", "published", "updated", "year"),
    "licence": ("licence", "license"),
    "phrasings": ("phrasings",),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns to take; None leaves one to be found by its name.

    A dot leads into an object: `context.contexts`.
    """

    question: str | None = None
    answer: str | None = None
    title: str | None = None
    url: str | None = None
    id: str | None = None
    source: str | None = None
    date: str | None = None
    licence: str | None = None
    phrasings: str | None = None

    def told(self) -> dict[str, str]:
        """Return the columns that were named."""
        return {name: column for name, column in asdict(self).items() if column}


class Resolver:
    """Finds the columns of rows, whose names may differ from file to file."""

    def __init__(self, columns: Columns) -> None:
        self._told = columns.told()
        self._unseen = dict(self._told)
        self._first: Mapping[str, Any] = {}
        self._found: dict[tuple[str, ...], dict[str, str]] = {}

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of `row` by our own names; what it lacks is left out.

        Raises:
            UsageError: It is the first row, and nothing in it can be the text.
        """
        shape = tuple(row)
        columns = self._found.get(shape)
        if columns is None:
            columns = self._resolve(row)
            # A source whose every row has another shape must not fill the memory.
            if len(self._found) < 1000:
                self._found[shape] = columns
        return {name: _reach(row, column) for name, column in columns.items()}

    def check(self) -> None:
        """Make sure that every column that was named is in some row.

        Raises:
            UsageError: One is in none.
        """
        if self._first and self._unseen:
            raise no_column(next(iter(self._unseen.values())), self._first)

    def _resolve(self, row: Mapping[str, Any]) -> dict[str, str]:
        by_name = {str(key).strip().lower(): str(key) for key in row}
        columns = {}
        for name, told in self._told.items():
            there = told if _has(row, told) else by_name.get(told.lower())
            if there is not None:
                columns[name] = there
                self._unseen.pop(name, None)
        for field in fields(Columns):
            if field.name not in self._told:
                taken = set(columns.values())
                known = (by_name[name] for name in _KNOWN[field.name] if name in by_name)
                found = next((each for each in known if each not in taken), None)
                if found is not None:
                    columns[field.name] = found
        if not self._first:
            if "answer" not in columns:
                raise no_column(self._told.get("answer"), row)
            self._first = row
        return columns


def no_column(name: str | None, row: Mapping[str, Any]) -> UsageError:
    """Return that `name`, or a column with the text, is not among those of `row`."""
    shown = ", ".join(str(key) for key in list(row)[:20]) or "none"
    title = "There is no such column:" if name else "No column can be taken for the text."
    detail = f"{name}. There are: {shown}." if name else f"There are: {shown}."
    return UsageError(title, detail, "Name the column: --answer COLUMN (and --question COLUMN)")


def _has(row: Mapping[str, Any], column: str) -> bool:
    return column in row or _reach(row, column) is not None


def _reach(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


_DATE = re.compile(r"(\d{4})(?:[-/.](\d{1,2}))?(?:[-/.](\d{1,2}))?(?:[T ].*)?")


def iso_date(value: str) -> str | None:
    """Return the ISO form of a date that begins with its year (a year alone is one), or None."""
    found = _DATE.fullmatch(value.strip())
    if found is None:
        return None
    year, month, day = found.groups()
    if (month and not 1 <= int(month) <= 12) or (day and not 1 <= int(day) <= 31):
        return None
    return "-".join(part.zfill(2) for part in (year, month, day) if part)
