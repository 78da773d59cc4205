"""PDF files, a page at a time, by pypdf; only text that is in the file, no pictures of text."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from medqa_tui.corpus.readers.base import (
    Entry,
    Found,
    MissingLibraryError,
    ReadError,
    ReadOptions,
    Reject,
    Row,
)

# A word that the end of a line cut in two.
_HYPHEN = re.compile(r"(\w)-\n([a-z])")
NO_TEXT = "a page without text (a picture of text must go through OCR first)"


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield each page that has text as a row with the file's title and the page's number.

    Raises:
        MissingLibraryError: pypdf is not installed.
        ReadError: It is no PDF, or its text is locked by a password.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MissingLibraryError("PDF files", "pypdf") from error
    # It writes a line for every oddity that it repairs.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with entry.seekable() as path:
        document = _open(pypdf, path)
        title = _title(document) or PurePosixPath(entry.name).stem
        for number in range(1, _pages(document) + 1):
            yield _page(entry.name, number, title, document)


def _open(pypdf: Any, path: Any) -> Any:
    try:
        document = pypdf.PdfReader(path)
        # Many files are locked against printing only and open with no password.
        locked = document.is_encrypted and not document.decrypt("")
    except Exception as error:
        if "crypt" in type(error).__name__.lower() or "crypt" in str(error).lower():
            raise ReadError("locked by a password") from error
        raise ReadError("not a PDF that can be read") from error
    if locked:
        raise ReadError("locked by a password")
    return document


def _pages(document: Any) -> int:
    try:
        return len(document.pages)
    except Exception as error:
        raise ReadError("not a PDF that can be read") from error


def _title(document: Any) -> str:
    try:
        return str(document.metadata.title or "").strip()
    except Exception:
        return ""


def _page(where: str, number: int, title: str, document: Any) -> Found:
    try:
        text = _HYPHEN.sub(r"\1\2", document.pages[number - 1].extract_text()).strip()
    except Exception as error:
        # A broken page raises whatever the library stumbles over; the others may be fine.
        return Reject(where, number, "a page that cannot be read", type(error).__name__)
    if not text:
        return Reject(where, number, NO_TEXT)
    name = f"{title}, page {number}"
    return Row(where, number, {"id": f"{where}/page-{number}", "title": name, "text": text})
