"""A row of a source as a clean document, or why it is none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medqa_tui.corpus.chunk import chunk_text
from medqa_tui.corpus.clean import clean_line, clean_text
from medqa_tui.corpus.columns import Resolver, iso_date
from medqa_tui.corpus.markup import strip_markup
from medqa_tui.corpus.readers.base import Reject, Row
from medqa_tui.corpus.record import KEPT_WITHOUT, PassageRecord
from medqa_tui.domain import Passage

MAX_TEXT = 4_000_000
"""Characters of one document: some two thousand pages."""

CHUNK_WORDS = 160
_MAX_LINE = 2000
_MAX_ID = 200
_NOT_IN_ID = re.compile(r"[\s#]+")
_URL = re.compile(r"https?://[^\s/<>\"]+[^\s<>\"]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus, before it is cut into passages.

    Attributes:
        where, line: Where it was read.
        notes: What had to be left out of it, in words.
    """

    id: str
    title: str
    question: str
    text: str
    source: str | None
    url: str | None
    date: str | None
    licence: str | None
    phrasings: tuple[str, ...]
    where: str
    line: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credits:
    """What is true of every document that does not say otherwise.

    Attributes:
        credit: Whom to name beside a document's own source.
    """

    licence: str | None = None
    credit: str | None = None
    date: str | None = None


def to_document(row: Row, resolver: Resolver, credits: Credits) -> Document | Reject:
    """Return `row` as a document.

    Raises:
        UsageError: A column that was named is not there.
    """
    values = resolver.values(row.fields)
    texts = {name: _text(value) for name, value in values.items() if name != "phrasings"}
    unreadable = [name for name, text in texts.items() if text is None]
    if unreadable:
        return Reject(row.where, row.line, f"the {unreadable[0]} is no text")
    told = {name: text or "" for name, text in texts.items()}
    if len(told.get("answer", "")) > MAX_TEXT:
        return Reject(
            row.where, row.line, f"a text of more than {MAX_TEXT // 1_000_000} million characters"
        )
    text = clean_text(strip_markup(told.get("answer", "")))
    question = clean_line(strip_markup(told.get("question", "")))
    if not text:
        return Reject(row.where, row.line, "no text")
    if len(question) > _MAX_LINE:
        return Reject(row.where, row.line, f"a question of more than {_MAX_LINE} characters")
    url, date, notes = _checked(told)
    source, where = clean_line(told.get("source", "")) or None, clean_line(row.where)
    return Document(
        id=_id(told.get("id", ""), question, text),
        title=clean_line(strip_markup(told.get("title", "")))[:_MAX_LINE] or question or where,
        question=question,
        text=text,
        source=_credited(source, credits.credit) or where,
        url=url,
        date=date or credits.date,
        licence=clean_line(told.get("licence", "")) or credits.licence,
        phrasings=_phrasings(values.get("phrasings")),
        where=row.where,
        line=row.line,
        notes=notes,
    )


def _text(value: Any) -> str | None:
    """Return a value as text: lists of texts as paragraphs; None if it is something else."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return None
        case int() | float():
            return str(value)
        case list() | tuple():
            parts = [_text(part) for part in value]
            return None if None in parts else "\n\n".join(part for part in parts if part)
        case Mapping():
            return None
        case _:
            return str(value)


def _checked(told: Mapping[str, str]) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Return the address and the date where they can be used, and notes where they cannot."""
    notes = []
    url, date = clean_line(told.get("url", "")), clean_line(told.get("date", ""))
    if url and (len(url) > _MAX_LINE or not _URL.fullmatch(url)):
        notes.append(f"{KEPT_WITHOUT} its address, which is not http(s)")
        url = ""
    found = iso_date(date) if date else None
    if date and found is None:
        notes.append(f"{KEPT_WITHOUT} its date, which does not begin with a year")
    return url or None, found, tuple(notes)


def _id(told: str, question: str, text: str) -> str:
    name = _NOT_IN_ID.sub("_", clean_line(told))
    if name and len(name) <= _MAX_ID:
        return name
    # The row's number would change with every row that is put before it.
    digest = hashlib.sha256("\n".join((name, question, text)).encode()).hexdigest()
    return f"h{digest[:16]}"


def _credited(source: str | None, credit: str | None) -> str | None:
    if source and credit:
        return f"{source}, in {credit}"
    return source or credit


def _phrasings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    lines = (clean_line(each) for each in value if isinstance(each, str))
    return tuple(dict.fromkeys(line[:_MAX_LINE] for line in lines if line))


def to_passages(document: Document, corpus: str, words: int = CHUNK_WORDS) -> list[PassageRecord]:
    """Return a document's passages, `<corpus>:<document>#<chunk>`, each with its question."""
    whole = PassageRecord(
        Passage(
            id="",
            corpus=corpus,
            document=document.id,
            title=document.title,
            text="",
            question=document.question or None,
            source=document.source,
            url=document.url,
            licence=document.licence,
            date=document.date,
        ),
        document.phrasings,
    )
    return [
        replace(
            whole,
            passage=replace(whole.passage, id=f"{corpus}:{document.id}#{number}", text=text),
        )
        for number, text in enumerate(chunk_text(document.text, words, overlap=True))
    ]
