"""Which reader reads which file."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from importlib import import_module

from medqa_tui.corpus.readers.base import (
    Entry,
    Found,
    ReadError,
    ReadOptions,
    Reject,
)
from medqa_tui.errors import MedQAError

FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv", ".tsv", ".tab"),
    "parquet": (".parquet",),
    "markdown": (".md", ".markdown"),
    "text": (".txt", ".text"),
    "pdf": (".pdf",),
    "anki": (".apkg", ".colpkg"),
    "medquad": (".xml",),
}
"""The endings of the files of each format."""

_MODULES = {"json": "json_file", "csv": "delimited", "text": "plain"}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
UNKNOWN = "not a kind of file that can be read"


def format_of(entry: Entry) -> str | None:
    """Return the format of a file by its ending, or None if it has no reader."""
    return next((name for name, endings in FORMATS.items() if entry.suffix in endings), None)


def read(entry: Entry, options: ReadOptions, format: str | None = None) -> Iterator[Found]:
    """Yield the rows of a file; whatever is wrong with it is a reject and never an exception.

    A full disk is not the file's fault.

    Args:
        format: One of `FORMATS`; None goes by the ending.

    Raises:
        MissingLibraryError: The reader needs a library that is not installed.
        OSError: There is no space to unpack it.
    """
    name = format or format_of(entry)
    if name is None:
        yield Reject(entry.name, 0, UNKNOWN)
        return
    if entry.size == 0:
        yield Reject(entry.name, 0, "an empty file")
        return
    count = 0
    try:
        for found in _reader(name)(entry, options):
            count += 1
            yield found
    except ReadError as error:
        yield Reject(entry.name, 0, str(error))
        return
    except MedQAError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            # The file is fine: left out, its passages would be taken for gone.
            raise
        yield _unreadable(entry, error)
        return
    # The libraries that read these formats raise whatever a damaged file makes them stumble over.
    except Exception as error:
        yield _unreadable(entry, error)
        return
    if not count:
        yield Reject(entry.name, 0, "a file without rows")


def _unreadable(entry: Entry, error: Exception) -> Reject:
    detail = f"{type(error).__name__}: {error}"
    return Reject(entry.name, 0, "a file that cannot be read", detail)


def _reader(name: str) -> Callable[[Entry, ReadOptions], Iterator[Found]]:
    module = import_module(f"medqa_tui.corpus.readers.{_MODULES.get(name, name)}")
    reader: Callable[[Entry, ReadOptions], Iterator[Found]] = module.read
    return reader
