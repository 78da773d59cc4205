"""Markdown: each section under a heading is a document; front matter may say where it is from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from medqa_tui.corpus.markup import strip_markup
from medqa_tui.corpus.readers.base import Entry, Found, ReadOptions, Reject, Row
from medqa_tui.corpus.readers.plain import read_text

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FRONT_KEYS = {
    "title": "title",
    "url": "url",
    "source": "source",
    "date": "date",
    "licence": "licence",
    "license": "licence",
}
_NOT_SLUG = re.compile(r"[^\w]+")


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the sections of a Markdown file as rows, without its markup."""
    text = read_text(entry, options)
    if isinstance(text, Reject):
        yield text
        return
    front, body = _front_matter(text)
    title = front.pop("title", "") or PurePosixPath(entry.name).stem
    used: set[str] = set()
    times: Counter[str] = Counter()
    for line, headings, words in _sections(body):
        # Under a single top heading its name would stand before every other.
        name = " > ".join(headings) or title
        slug = _NOT_SLUG.sub("-", name.lower()).strip("-") or "section"
        key = slug
        while key in used:
            # Counted on from the last one: a heading may be there a million times.
            times[slug] += 1
            key = f"{slug}-{times[slug] + 1}"
        used.add(key)
        yield Row(
            entry.name, line, {**front, "id": f"{entry.name}/{key}", "title": name, "text": words}
        )


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    values = {}
    for line in found[1].splitlines():
        key, colon, value = line.partition(":")
        name = _FRONT_KEYS.get(key.strip().lower())
        if colon and name:
            values[name] = value.strip().strip("'\"")
    # The lines stay, so that those of the sections are the file's.
    return values, "\n" * text[: found.end()].count("\n") + text[found.end() :]


def _sections(text: str) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Yield (line, headings above, text) of each section that has text of its own."""
    from markdown_it import MarkdownIt

    headings: dict[int, str] = {}
    parts: list[str] = []
    start = 1
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            if parts:
                yield start, tuple(headings.values()), "".join(parts)
            level = int(token.tag[1])
            headings = {each: name for each, name in headings.items() if each < level}
            headings[level] = _words(tokens[at + 1])
            parts, start = [], (token.map[0] if token.map else 0) + 1
        elif not (token.type == "inline" and tokens[at - 1].type == "heading_open"):
            parts.extend(_part(tokens, at))
    if parts:
        yield start, tuple(headings.values()), "".join(parts)


def _part(tokens: list[Token], at: int) -> Iterator[str]:
    token = tokens[at]
    match token.type:
        case "inline":
            before = tokens[at - 1].type
            item = before == "paragraph_open" and at > 1 and tokens[at - 2].type == "list_item_open"
            words = _words(token)
            if words:
                yield f"{words} | " if before in ("td_open", "th_open") else words
                if not before.startswith("t"):
                    yield "\n" if item or tokens[at - 1].hidden else "\n\n"
        case "list_item_open":
            yield "- "
        case "tr_close":
            yield "\n"
        case "fence" | "code_block":
            yield f"{token.content}\n"
        case "html_block":
            words = strip_markup(token.content).strip()
            if words:
                yield f"{words}\n\n"


def _words(token: Token) -> str:
    found = []
    for child in token.children or ():
        match child.type:
            case "text" | "code_inline":
                found.append(child.content)
            case "softbreak" | "hardbreak":
                found.append(" ")
    return "".join(found).strip()
