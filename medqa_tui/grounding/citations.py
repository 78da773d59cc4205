"""Citation marks: `[1]`, `[1, 2]`, `[1-3]`, and the near misses that small models write."""

from __future__ import annotations

import re

_LABEL = r"(?:(?:evidence|passages?|sources?|documents?|ref(?:erence)?s?|citations?|n)\s*[#:=]?\s*)"
_NUMBERS = r"\d{1,2}(?:\s*(?:,|;|-|\u2013|&|and)\s*(?:" + _LABEL + r")?\d{1,2})*"
_MARK = re.compile(r"\s*\[\s*" + _LABEL + r"?(" + _NUMBERS + r")\s*\]", re.IGNORECASE)
# "[n]" is the placeholder of the instruction itself, copied.
_EMPTY_MARK = re.compile(r"\s*\[\s*" + _LABEL + r"?\s*\]", re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,2})\s*[-\u2013]\s*(\d{1,2})")
_LIST_MARK = re.compile(r"^\s*(?:[-*\u2022\u2013]|\d{1,2}[.)])\s+")
_SPACE_BEFORE_STOP = re.compile(r"\s+([.,;:!?])")
_DOUBLED_STOP = re.compile(r"([.!?])[.,;]+$")
_MAX_RANGE = 9


def parse(sentence: str) -> tuple[str, tuple[int, ...]]:
    """Return the sentence without citation and list marks, and the numbers it cites, in order.

    Numbers are not checked against any evidence here. Brackets that hold something else, such as
    a range with units or a year, stay in the text.
    """
    numbers: list[int] = []
    for mark in _MARK.finditer(sentence):
        numbers.extend(n for n in _expand(mark.group(1)) if n not in numbers)
    text = _EMPTY_MARK.sub("", _MARK.sub("", sentence))
    text = _SPACE_BEFORE_STOP.sub(r"\1", _LIST_MARK.sub("", " ".join(text.split())))
    return _DOUBLED_STOP.sub(r"\1", text).strip(), tuple(numbers)


def format_marks(citations: tuple[int, ...]) -> str:
    """Return the marks that follow a sentence: `(1, 3)` gives `[1][3]`, nothing gives ``."""
    return "".join(f"[{n}]" for n in citations)


def _expand(numbers: str) -> list[int]:
    """Return the numbers of one mark, a range written out."""
    span = _RANGE.fullmatch(numbers.strip())
    if span is not None:
        low, high = int(span.group(1)), int(span.group(2))
        if low <= high <= low + _MAX_RANGE:
            return list(range(low, high + 1))
    found: list[int] = []
    for n in (int(digits) for digits in re.findall(r"\d{1,2}", numbers)):
        if n not in found:
            found.append(n)
    return found
