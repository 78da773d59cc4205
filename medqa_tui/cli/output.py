"""The one writer of stdout: data only, and nothing that could steer the terminal."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from medqa_tui.cli import terminal
from medqa_tui.cli.words import wrapped
from medqa_tui.errors import MedQAError

_failed = threading.Event()
"""Set once something could not be written, which the command that wrote it has said."""

_unfinished = threading.Event()
"""Set while the last line of stdout has not ended."""

_FIGURE = re.compile(r"([-+]?[0-9][0-9,]*(\.[0-9]+)?%?)?")
# JSON escapes the C0 controls itself; these reach a terminal just as well.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def prepare() -> None:
    """Make stdout replace what its encoding cannot hold, instead of raising."""
    if sys.stdout is None:  # closed by whoever started the program
        sys.stdout = terminal.sink(1)
    _forgiving(sys.stdout)


def write(text: str = "", *, style: str = "", end: str = "\n", flush: bool = False) -> None:
    """Write `text`, cleaned of control characters.

    Args:
        text: May hold newlines.
        style: Names known to `terminal.paint`, such as `bold`; used where colour is shown.
        end: Written after the text, as it is.
        flush: Whether the reader must have it now.

    Raises:
        BrokenPipeError: The reader has gone.
        MedQAError: The disk behind stdout is full, or fails.
    """
    from medqa_tui.safety.sanitize import clean

    stream = sys.stdout
    with _in_words():
        written = terminal.paint(clean(text), style, stream) + end
        stream.write(written)
        if written.endswith("\n"):
            _unfinished.clear()
        elif written:
            _unfinished.set()
        if flush or terminal.is_terminal(stream):
            stream.flush()


def emit_json(record: Any) -> None:
    """Write one JSON value on one line."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    text = json.dumps(record, ensure_ascii=encoding != "utf8", allow_nan=False)
    with _in_words():
        sys.stdout.write(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
        sys.stdout.flush()


def emit_record(values: Mapping[str, object]) -> None:
    """Write the one object that a command prints with `--json`, with the version of its form."""
    from medqa_tui.contract import SCHEMA_VERSION

    emit_json({"schema_version": SCHEMA_VERSION, **values})


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under their headers, in columns two spaces apart; numbers stand on the right.

    Args:
        headers: One a column.
        rows: Cells are shown with `str`; None is an empty cell. On a terminal the widest column
            gives way until the line fits.
    """
    from medqa_tui.safety.sanitize import clean

    values = [list(row) for row in rows]
    cells = [["" if cell is None else clean(str(cell), False) for cell in row] for row in values]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    excess = sum(widths) + 2 * (len(widths) - 1) - terminal.width(sys.stdout)
    if excess > 0:
        widest = widths.index(max(widths))
        widths[widest] = max(8, len(headers[widest]), widths[widest] - excess)
    right = [
        bool(values) and all(_is_figure(row[i]) for row in values) for i in range(len(headers))
    ]
    for row, style in [(list(headers), "bold"), *((row, "") for row in cells)]:
        aligned = [
            _fit(cell, size).rjust(size) if end else _fit(cell, size).ljust(size)
            for cell, size, end in zip(row, widths, right, strict=True)
        ]
        write("  ".join(aligned).rstrip(), style=style)


def facts(pairs: Iterable[tuple[str, str]], width: int, indent: str = "") -> None:
    """Write labels, each with its value beside it; those without a value are left out.

    Args:
        width: Columns of the labels.
        indent: Stands before each.
    """
    for label, value in pairs:
        if value:
            line = f"{indent}{label + ':':{width}}{value}"
            hanging = " " * (len(indent) + width)
            write(wrapped(line, terminal.width(sys.stdout), hanging))


def read_line(prompt: str) -> str:
    """Ask for a line on the terminal, with line editing that is kept in memory only.

    Raises:
        EOFError: Ctrl-D.
        KeyboardInterrupt: Ctrl-C.
    """
    with contextlib.suppress(ImportError):  # Windows has line editing of its own
        import readline  # noqa: F401 - importing it gives `input` line editing
    return input(prompt)


def make_way(stream: TextIO) -> str:
    """Return what must stand before a line of `stream`, where that shows where stdout does.

    What was written to stdout so far is sent on, so that the line comes after it; and a line break
    ends a line that stdout has begun.
    """
    if not terminal.same_place(sys.stdout, stream):
        return ""
    with contextlib.suppress(OSError, ValueError):  # `finish` meets it again, and tells
        sys.stdout.flush()
    if not _unfinished.is_set():
        return ""
    _unfinished.clear()
    return "\n"


def finish() -> None:
    """Flush stdout, and do not complain at exit if its reader has gone.

    Raises:
        MedQAError: The disk behind stdout is full, or fails.
    """
    import os

    # What could not be written stays in the buffer, and fails once more here.
    already_told = _failed.is_set()
    try:
        with _in_words():
            sys.stdout.flush()
    except (BrokenPipeError, ValueError, MedQAError) as error:
        # The interpreter flushes once more at exit: give it somewhere to flush to.
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        if isinstance(error, MedQAError) and not already_told:
            raise


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = f"{error.strerror or error}."
        _failed.set()
        raise MedQAError("The output could not be written.", reason) from error


def _is_figure(cell: object) -> bool:
    return isinstance(cell, int | float | None) or bool(_FIGURE.fullmatch(str(cell)))


def _fit(text: str, size: int) -> str:
    if len(text) <= size:
        return text
    mark = "…" if terminal.can_show_unicode(sys.stdout) else "..."
    return text[: size - len(mark)].rstrip() + mark


def _forgiving(stream: Any) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
