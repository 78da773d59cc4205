"""Words as they are shown: counts with what they count, and lines that fit."""

from __future__ import annotations

import re

# A command to type, up to the end of its line, is copied whole: it stays on one line.
_COMMAND = re.compile(r"medqa-tui [a-z-].*$", re.MULTILINE)
_HELD = "\0"


def counted(number: int, of: str) -> str:
    """Return a number with what it counts: `1 question`, `2 questions`."""
    return f"{number:,} {of}" if number == 1 else f"{number:,} {of}s"


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return `text` with its lines broken between words to fit `width` columns.

    A command at the end of a line is not broken.

    Args:
        indent: Stands before what goes on from the line above.
    """
    import textwrap

    held = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), text)
    return "\n".join(
        textwrap.fill(
            *(line, width),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in held.splitlines()
    ).replace(_HELD, " ")
