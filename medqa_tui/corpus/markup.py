"""Plain text out of text with HTML in it."""

from __future__ import annotations

import html
import re

# Only what is surely a tag: "p < 0.05 and q > 3" is left alone.
_TAGS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|caption|center|cite|code|col|colgroup|dd|del"
    "|details|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe"
    "|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|p|pre|q|s|section|small|source|span"
    "|strike|strong|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|time|title|tr|tt|u|ul|var"
    "|video|wbr"
)
_HIDDEN = re.compile(
    r"<(script|style|head|template)\b[^<>]{0,1000}>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ITEM = re.compile(r"<li\b[^<>]{0,1000}>", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:p|div|h[1-6]|ul|ol|dl|dt|dd|table|tr|section|article|blockquote|pre|br|hr)\b"
    r"[^<>]{0,1000}/?>",
    re.IGNORECASE,
)
_CELL = re.compile(r"</t[dh]\s*>", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]{{0,1000}})?/?>", re.IGNORECASE)


def strip_markup(text: str) -> str:
    """Return `text` without HTML tags and entities; blocks and list items become lines."""
    if "<" in text:
        text = _COMMENT.sub(" ", _HIDDEN.sub(" ", text))
        text = _BLOCK.sub("\n", _ITEM.sub("\n- ", text))
        text = _TAG.sub("", _CELL.sub(" ", text))
    return html.unescape(text) if "&" in text else text
