"""What was left out of a corpus: counted by reason, and written down line by line."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from medqa_tui import paths
from medqa_tui.corpus.clean import clean_line
from medqa_tui.corpus.readers.base import Reject

_HEADER = ("file", "line", "reason", "detail")


class RejectLog:
    """A TSV of rejected rows, put in the place of the last one only when all went well.

    Args:
        path: The file; None counts only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def add(self, reject: Reject) -> None:
        """Count a reject and write it down."""
        self.counts[reject.reason] += 1
        if self._path is None:
            return
        if self._file is None:
            self._file = self._open(self._path)
        cells = (reject.where, str(reject.line or ""), reject.reason, reject.detail)
        self._file.write("\t".join(clean_line(cell) for cell in cells) + "\n")

    def keep(self) -> Path | None:
        """Make this the list of the corpus; return it, or None if nothing was rejected."""
        if self._path is None:
            return None
        if self._file is None:
            self._path.unlink(missing_ok=True)
            return None
        self._file.close()
        _beside(self._path).replace(self._path)
        self._file = None
        return self._path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            _beside(self._path).unlink(missing_ok=True)

    def _open(self, path: Path) -> TextIO:
        paths.ensure(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        file = os.fdopen(os.open(_beside(path), flags, 0o600), "w", encoding="utf-8")
        file.write("\t".join(_HEADER) + "\n")
        return file


def forget_rejects(path: Path) -> None:
    """Delete the list at `path`, also one that was being written when its process was killed."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
