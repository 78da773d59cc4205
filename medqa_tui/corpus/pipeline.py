"""From a source to passages: read, cleaned, without duplicates, cut; the rest is counted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medqa_tui.corpus.columns import Resolver
from medqa_tui.corpus.document import Credits, Document, to_document, to_passages
from medqa_tui.corpus.duplicates import Duplicates
from medqa_tui.corpus.readers import registry
from medqa_tui.corpus.readers.base import Entry, ReadOptions, Reject, Row
from medqa_tui.corpus.readers.places import open_place
from medqa_tui.corpus.record import PassageRecord
from medqa_tui.corpus.rejects import RejectLog
from medqa_tui.corpus.sources import BUILTINS, Source
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.models.files import sha256_file

EXACT = "the same as an earlier one, word for word"
NEAR = "nearly the same as an earlier one"
SAME_ID = "an id that an earlier one has"


class IngestCancelled(MedQAError):
    """The user stopped an ingestion; what was there before is there still."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(slots=True)
class Tally:
    """What went through the pipeline so far."""

    rows: int = 0
    documents: int = 0


class Pipeline:
    """One reading of a source.

    Args:
        path: Where the source lies now.
        log: Takes what is left out.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        credits: Credits,
        log: RejectLog,
        cancel: threading.Event | None = None,
    ) -> None:
        self._source = source
        self._path = path
        self._log = log
        self._cancel = cancel
        self._credits = credits
        self._resolver = Resolver(source.columns)
        self.tally = Tally()

    def passages(self, corpus: str) -> Iterator[PassageRecord]:
        """Yield the passages of the source, in its order.

        Raises:
            UsageError: The source is not there, or a column that was named is not.
            IngestCancelled: The user stopped it.
        """
        for document in self.documents():
            yield from to_passages(document, corpus, self._source.words)

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the source that are not rejected."""
        seen: dict[str, int] = {}
        duplicates = None if self._source.keep_duplicates else Duplicates()
        for document in self._read():
            if document.id in seen:
                self._leave_out(document, SAME_ID, document.id)
                continue
            same = duplicates.find(document) if duplicates is not None else None
            if same is not None:
                self._leave_out(document, EXACT if same.exact else NEAR, same.of)
                continue
            seen[document.id] = document.line
            for note in document.notes:
                self._leave_out(document, note)
            self.tally.documents += 1
            yield document
        self._resolver.check()

    def _leave_out(self, document: Document, reason: str, detail: str = "") -> None:
        self._log.add(Reject(document.where, document.line, reason, detail))

    def _read(self) -> Iterator[Document]:
        builtin = BUILTINS.get(self._source.builtin or "")
        for found in self._rows():
            if self._cancel is not None and self._cancel.is_set():
                raise IngestCancelled(
                    "The ingestion was interrupted.",
                    "Nothing was changed.",
                    "Give the same command again.",
                )
            self.tally.rows += 1
            if isinstance(found, Reject):
                self._log.add(found)
                continue
            row = replace(found, fields=builtin.adapt(found.fields)) if builtin else found
            document = to_document(row, self._resolver, self._credits)
            if isinstance(document, Reject):
                self._log.add(document)
            else:
                yield document

    def _rows(self) -> Iterator[Row | Reject]:
        options = ReadOptions(self._source.encoding)
        builtin = BUILTINS.get(self._source.builtin or "")
        with open_place(self._path) as entries:
            for entry in entries:
                if isinstance(entry, Reject):
                    yield entry
                elif builtin and registry.format_of(entry) not in builtin.formats:
                    yield Reject(entry.name, 0, "no part of the data set")
                else:
                    yield from registry.read(entry, options, self._source.format)


def revision_of(path: Path) -> str:
    """Return a hash over the names and bytes of the files at `path`.

    Raises:
        UsageError: There is nothing.
    """
    digest = hashlib.sha256()
    if path.is_file():
        return f"sha256:{sha256_file(path)[:16]}"
    with open_place(path) as entries:
        for entry in entries:
            if isinstance(entry, Entry):
                digest.update(f"{entry.name}\0".encode("utf-8", "surrogateescape"))
                with entry.opener() as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)
    return f"sha256:{digest.hexdigest()[:16]}"
