"""Topics that no training example may touch, and the words that betray them."""

from __future__ import annotations

import re
from pathlib import Path

# Words of up to so many letters are whole ("hiv" is not in "hives"); longer ones may be stems.
_WHOLE = 4


def read_heldout(file: Path) -> dict[str, re.Pattern[str]]:
    """Return what matches a held-out topic in a text, by the topic's first word.

    Args:
        file: One topic a line, its words parted by "|"; lines that begin with "#" are notes.

    Raises:
        OSError: The file cannot be read.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    topics = [
        [word.strip() for word in line.split("|")] for line in lines if line and line[0] != "#"
    ]
    return {
        words[0]: re.compile(r"\b(" + "|".join(map(_flexible, words)) + ")", re.I)
        for words in topics
    }


def _flexible(words: str) -> str:
    pattern = r"\W+".join(re.escape(word) for word in words.split())
    return pattern + r"\b" if len(words) <= _WHOLE else pattern
