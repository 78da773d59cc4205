"""Entries as a Markdown document, whatever is in their texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medqa_tui.domain import Evidence
from medqa_tui.history.entry import Entry
from medqa_tui.history.facts import facts, label, provenance, split_evidence, web_address
from medqa_tui.safety.disclaimer import DISCLAIMER

# Everything that CommonMark could take for markup inside a line; "[1]" stays as it is read.
_INLINE = re.compile(r"([\\`*_<>&|~$!]|\](?=[(\[:]))")
_BLOCK = re.compile(r"^(\s*)(#{1,6}(?=\s|$)|[-+=](?=\s|$)|-{2,}|={2,}|:(?=\s))", re.MULTILINE)
_LIST = re.compile(r"^(\s*\d{1,9})([.)])(?=\s|$)", re.MULTILINE)


def render(entries: Sequence[Entry], exported: str) -> str:
    """Return the document.

    Args:
        entries: In the order they are to be read, each with its whole answer.
        exported: When, in words.
    """
    parts = ["# Questions and answers", f"*{escape(DISCLAIMER)}*"]
    for entry in entries:
        parts += _entry(entry)
    parts += ["---", f"{len(entries)} from medqa-tui, exported {exported}. {escape(DISCLAIMER)}"]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return `text` such that a Markdown reader shows it as it is."""
    text = _INLINE.sub(r"\\\1", text)
    text = _LIST.sub(r"\1\\\2", _BLOCK.sub(r"\1\\\2", text))
    # Four spaces would make a block of code.
    return "\n".join(line.strip() for line in text.splitlines())


def _entry(entry: Entry) -> list[str]:
    parts = [f"## {_line(entry.name)}"]
    parts.append("\n".join(f"- {label}: {_line(value)}" for label, value in facts(entry)))
    if entry.advice:
        parts.append(_quoted(f"**{_line(entry.advice)}**"))
    if entry.text:
        parts.append(escape(entry.text))
    answer = entry.answer
    if said := label(answer):
        parts.append(f"**{_line(said)}**")
    used, others = split_evidence(answer)
    if used:
        parts.append("### Evidence")
        parts += [_passage(item) for item in used]
    if others:
        heading = "### Also found" if used else "### Nearest passages"
        listed = [f"- \\[{item.n}\\] {' · '.join(_origin(item))}" for item in others]
        parts += [heading, "\n".join(listed)]
    if answer is not None and answer.notices:
        parts.append("\n".join(f"- Note: {_line(notice)}" for notice in answer.notices))
    if answer is not None and answer.disclaimer:
        parts.append(f"*{_line(answer.disclaimer)}*")
    return parts


def _passage(evidence: Evidence) -> str:
    head = f"**\\[{evidence.n}\\]** {' · '.join(_origin(evidence))}"
    return f"{head}\n\n{_quoted(escape(evidence.passage.text))}"


def _origin(evidence: Evidence) -> list[str]:
    url = web_address(evidence)
    link = [f"<{url}>"] if url and not re.search(r"[\s<>]", url) else []
    return [_line(evidence.passage.title), *map(_line, provenance(evidence)), *link]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _line(text: str) -> str:
    return escape(" ".join(text.split()))
