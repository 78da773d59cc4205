"""Entries as one HTML page that needs nothing else: no script, no font, no picture, no server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from medqa_tui.domain import Evidence
from medqa_tui.history.entry import Entry
from medqa_tui.history.facts import facts, label, provenance, split_evidence, web_address
from medqa_tui.safety.disclaimer import DISCLAIMER

# The policy forbids whatever a text could still smuggle in.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Questions and answers</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fdfdfb; --soft: #5b6168;
  --line: #d8dade; --accent: #0b5c8a; --warn: #8a1c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --paper: #17191c; --soft: #a5abb3;
  --line: #3a3f46; --accent: #7cc0ea; --warn: #ff9a94; } }
body { margin: 0 auto; max-width: 44rem; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; line-height: 1.3; } h3 { font-size: 1rem; }
article { border-top: 1px solid var(--line); margin-top: 2rem; }
.note, dl, .origin, footer { color: var(--soft); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dd { margin: 0; } a { color: var(--accent); } .text { white-space: pre-line; }
.advice { border-left: .3rem solid var(--warn); padding-left: 1rem; font-weight: 600;
  white-space: pre-line; }
blockquote { border-left: .2rem solid var(--line); margin: .3rem 0 1rem; padding-left: 1rem;
  white-space: pre-line; }
@media print { :root { --ink: #000; --paper: #fff; --soft: #444; --line: #999; --accent: #000;
  --warn: #000; } body { font: 10.5pt/1.45 serif; max-width: none; padding: 0; }
  h2, h3, .origin { break-after: avoid; } blockquote { break-inside: avoid; } }
</style>
</head>
<body>
"""
_CITATION = re.compile(r"\[(\d{1,3})\]")


def render(entries: Sequence[Entry], exported: str) -> str:
    """Return the page.

    Args:
        entries: In the order they are to be read, each with its whole answer.
        exported: When, in words.
    """
    warning = f'<p class="note">{escape(DISCLAIMER)}</p>'
    articles = "\n".join(_entry(entry) for entry in entries)
    end = f"<footer><p>{len(entries)} from medqa-tui, exported {escape(exported)}.</p>{warning}"
    return (
        f"{_HEAD}<h1>Questions and answers</h1>\n{warning}\n{articles}\n"
        f"{end}</footer>\n</body>\n</html>\n"
    )


def _entry(entry: Entry) -> str:
    rows = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in facts(entry)
    )
    parts = [f'<article id="q{entry.id}">', f"<h2>{escape(entry.name)}</h2>", f"<dl>{rows}</dl>"]
    if entry.advice:
        parts.append(f'<p class="advice">{escape(entry.advice)}</p>')
    answer = entry.answer
    used, others = split_evidence(answer)
    if entry.text:
        numbers = {item.n for item in used}
        parts.append(f'<p class="text">{_linked(entry.text, entry.id, numbers)}</p>')
    if said := label(answer):
        parts.append(f"<p><strong>{escape(said)}</strong></p>")
    if used:
        parts.append("<h3>Evidence</h3>")
        parts += [_passage(item, entry.id) for item in used]
    if others:
        parts.append(f"<h3>{'Also found' if used else 'Nearest passages'}</h3>")
        parts += [f'<p class="origin">[{item.n}] {_origin(item)}</p>' for item in others]
    if answer is not None:
        parts += [f'<p class="note">Note: {escape(notice)}</p>' for notice in answer.notices]
        if answer.disclaimer:
            parts.append(f'<p class="note">{escape(answer.disclaimer)}</p>')
    return "\n".join([*parts, "</article>"])


def _linked(text: str, id: int, numbers: set[int]) -> str:
    """Return the answer's text with its citation marks leading to the evidence below it."""

    def link(found: re.Match[str]) -> str:
        if int(found[1]) not in numbers:
            return found[0]
        return f'<a href="#q{id}e{int(found[1])}">{found[0]}</a>'

    return _CITATION.sub(link, escape(text))


def _passage(evidence: Evidence, id: int) -> str:
    return (
        f'<p class="origin" id="q{id}e{evidence.n}">[{evidence.n}] {_origin(evidence)}</p>\n'
        f"<blockquote>{escape(evidence.passage.text)}</blockquote>"
    )


def _origin(evidence: Evidence) -> str:
    said = " · ".join([evidence.passage.title, *provenance(evidence)])
    url = web_address(evidence)
    link = f' · <a href="{escape(url)}" rel="noreferrer">{escape(url)}</a>' if url else ""
    return f"{escape(said)}{link}"
