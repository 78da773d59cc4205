"""Answers that were measured already, so that a comparison goes on where it was ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from medqa_tui.errors import MedQAError
from medqa_tui.evaluation.systems import Said
from medqa_tui.paths import Paths, ensure


def folder_of(paths: Paths) -> Path:
    """Return where the answers of comparisons are kept."""
    return paths.data / "comparisons"


class KeptAnswers:
    """What one system said, by case; a line is written as soon as it is known."""

    def __init__(self, folder: Path, system: str) -> None:
        """Read what is there.

        Args:
            system: The system's key.
        """
        self._file = folder / f"answers-{system[:32]}.jsonl"
        self._known: dict[str, Any] = dict(_lines(self._file))
        self._out: TextIO | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the file open while answers are added.

        Raises:
            MedQAError: It cannot be written.
        """
        ensure(self._file.parent)
        try:
            self._out = self._file.open("a+", encoding="utf-8")
            self._file.chmod(0o600)
        except OSError as error:
            raise _unkept(self._file, error) from error
        with self._out:
            # A line that was cut by a kill must not swallow the next one.
            self._out.write("\n" if self._file.stat().st_size else "")
            yield
        self._out = None

    def said(self, key: str) -> Said | None:
        """Return what was said to a case, or None."""
        row = self._known.get(key)
        try:
            return None if row is None else Said(**row)
        except TypeError:
            return None

    def value(self, key: str) -> Any:
        """Return what was kept by `keep`, or None."""
        return self._known.get(key)

    def keep(self, key: str, value: Any) -> None:
        """Keep any JSON value.

        Raises:
            MedQAError: The disk refuses.
        """
        assert self._out is not None
        self._known[key] = value
        try:
            self._out.write(json.dumps({"case": key, "said": value}) + "\n")
            self._out.flush()
        except OSError as error:
            raise _unkept(self._file, error) from error


def _unkept(file: Path, error: OSError) -> MedQAError:
    return MedQAError(
        "The answers cannot be kept.",
        f"{file}: {error.strerror or error}.",
        "Free some space or check the folder's permissions, then type the same command.",
    )


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
            yield str(row["case"]), row["said"]
        except (ValueError, KeyError, TypeError):
            continue
