"""A Markdown parser for text that nobody vouches for: no links, images or HTML; `[n]` cites."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_CITATION = re.compile(r"\[(\d{1,2})\]")
CITE = "cite:"


def citation_parser() -> MarkdownIt:
    """Return a parser that shows links and HTML as they are written and makes `[n]` clickable.

    A link is the one thing in Markdown that can say one thing and do another, so an answer
    or a passage may not make one.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.disable(["link", "image", "autolink", "reference", "html_block", "html_inline"])
    parser.inline.ruler.before("link", "citation", _citation)
    return parser


def _citation(state: StateInline, silent: bool) -> bool:
    match = _CITATION.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        opening = state.push("link_open", "a", 1)
        opening.attrs = {"href": CITE + match[1]}
        state.push("text", "", 0).content = match[0]
        state.push("link_close", "a", -1)
    state.pos = match.end()
    return True
