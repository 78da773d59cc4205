"""What the streams of this process can show: colour, motion, width, symbols beyond ASCII."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

_plain = False


def set_plain(plain: bool) -> None:
    """Turn off colour, motion and symbols beyond ASCII for the rest of this process."""
    global _plain  # noqa: PLW0603 - one process has one terminal, and `--plain` is about it
    _plain = plain


def sink(descriptor: int) -> TextIO:
    """Return a stream that swallows all, in the place of a closed standard stream.

    It takes the closed descriptor too, so that no file or socket opened later gets that number
    and what libraries print there.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    return open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is open and a person reads it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # a closed stream
        return False


def can_colour(stream: TextIO | None) -> bool:
    """Return whether colour may be written to `stream` (see https://no-color.org)."""
    return (
        not _plain
        and is_terminal(stream)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def can_redraw(stream: TextIO | None) -> bool:
    """Return whether a line of `stream` may be drawn over."""
    return not _plain and is_terminal(stream) and os.environ.get("TERM") != "dumb"


def can_show_unicode(stream: TextIO | None) -> bool:
    """Return whether symbols beyond ASCII may be written to `stream`."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return not _plain and encoding == "utf8"


def same_place(one: TextIO | None, other: TextIO | None) -> bool:
    """Return whether both streams end up in one terminal, file or pipe."""
    if one is None or other is None:
        return False
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):  # no descriptor behind it, or a closed one
        return is_terminal(one) and is_terminal(other)


def width(stream: TextIO | None) -> int:
    """Return the columns of the terminal, or a wide line where nobody reads."""
    return shutil.get_terminal_size((80, 24)).columns if is_terminal(stream) else 10_000


def text_width(stream: TextIO | None) -> int:
    """Return the columns that prose is broken at: no wider than is easy to read."""
    return min(width(stream), 100) if is_terminal(stream) else width(stream)


def paint(text: str, style: str, stream: TextIO | None) -> str:
    """Return `text` in `style` (names of `_CODES` joined by spaces), if `stream` shows colour."""
    if not style or not text or not can_colour(stream):
        return text
    codes = ";".join(_CODES[name] for name in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"
