"""Text as it enters the store: one Unicode form, no markup, no hidden characters."""

from __future__ import annotations

import re
import unicodedata

from medqa_tui.safety.sanitize import clean as strip_controls

_SPACE = re.compile(r"\s+")
# Soft hyphens and zero-width spaces cut a word in two for every tokenizer.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
# Text in which there is nothing to remove; most is.
_PLAIN = re.compile(r"[\n\x20-\x7e]*")
_LINE_SPACE = re.compile(r"[^\S\n]+")
_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
# A line this long that does not end a sentence was broken by the width of its page.
_WRAPPED = re.compile(r"(?<=[^\n]{40})(?<![.!?:;\n])\n(?!\n|[-*\u2022\u2013]\s|\d{1,2}[.)]\s)")


def clean_line(text: str) -> str:
    """Return `text` in NFC on one line: control and hidden characters gone, whitespace folded."""
    if _PLAIN.fullmatch(text):
        return _SPACE.sub(" ", text).strip()
    text = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    # Folding comes first, so that a tab or a vertical tab still parts two words.
    return _SPACE.sub(" ", strip_controls(_SPACE.sub(" ", text))).strip()


def clean_text(text: str) -> str:
    """Return `text` in NFC: paragraphs and list items on lines of their own, the rest as above."""
    if not _PLAIN.fullmatch(text):
        text = strip_controls(unicodedata.normalize("NFC", text).translate(_INVISIBLE))
    lines = "\n".join(line.strip() for line in _LINE_SPACE.sub(" ", text).split("\n"))
    return _WRAPPED.sub(" ", _BLANK.sub("\n\n", lines)).strip()
