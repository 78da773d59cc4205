"""Text as it enters the store: one Unicode form, one line, no hidden characters."""

from __future__ import annotations

import re
import unicodedata

from medqa_tui.safety.sanitize import clean as strip_controls

_SPACE = re.compile(r"\s+")
# Soft hyphens and zero-width spaces cut a word in two for every tokenizer.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))


def clean_line(text: str) -> str:
    """Return `text` in NFC on one line: control and hidden characters gone, whitespace folded."""
    text = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    # Folding comes first, so that a tab or a vertical tab still parts two words.
    return _SPACE.sub(" ", strip_controls(_SPACE.sub(" ", text))).strip()
