"""Where a sentence ends: for whole texts and for text that is still being written."""

from __future__ import annotations

import re

# A full stop after one of these does not end a sentence.
_ABBREVIATION = re.compile(
    r"e\.?g|i\.?e|dr|mrs?|ms|prof|st|vs|cf|al|approx|figs?|vol|dept|inc|jr|sr|resp|incl|viz|ca"
    r"|a\.m|p\.m|u\.s|u\.k|ph\.d|m\.d|(?:\w\.)+\w",
    re.IGNORECASE,
)
_TERMINATORS = ".!?\u2026"
_STOP = re.compile(f"[\\n{_TERMINATORS}]")
_CLOSERS = "\"')]}\u201d\u2019*_"
_LIST_MARK = re.compile(r"(?:[-*\u2022\u2013]|\d{1,2}[.)])[ \t]")
_LIST_MARK_STARTED = re.compile(r"(?:[-*\u2022\u2013]|\d{1,2}[.)]?)$")
_ITEM_NUMBER = re.compile(r"\s*(?:[-*\u2022]\s*)?\(?\d{1,2}[.)]?$")
_LAST_WORD = re.compile(r"[^\s(\[\"\u201c]+$")
# What may stand between the brackets of a citation mark: "1", "1, 2", "Evidence 1", "n".
_MARK = re.compile(r"\[[^\[\]\n]{1,24}\]")
_MARK_STARTED = re.compile(r"\[[^\[\]\n]{0,24}$")
_LONGEST = 40
_SPACES = " \t\u00a0"


class _Wait(Exception):
    """The text so far does not tell yet."""


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, each with the citation marks that follow its full stop.

    Abbreviations and decimals do not end a sentence; a blank line or a list item does. Line
    breaks inside a sentence become spaces.
    """
    return SentenceBuffer().feed(text, final=True)


class SentenceBuffer:
    """Collects streamed text and hands out each sentence once it is complete.

    Whatever the pieces are, the sentences are those of `split_sentences` on the whole text.
    """

    def __init__(self) -> None:
        self._text = ""

    def push(self, text: str) -> list[str]:
        """Add `text` and return the sentences that are now complete."""
        return self.feed(text, final=False)

    def flush(self) -> list[str]:
        """Return what is left, complete or not, and start afresh."""
        return self.feed("", final=True)

    @property
    def pending(self) -> str:
        """What was pushed and belongs to no complete sentence yet."""
        return self._text

    def feed(self, text: str, *, final: bool) -> list[str]:
        """Add `text`; with `final`, nothing follows and the rest is handed out too."""
        self._text += text
        found: list[str] = []
        while True:
            try:
                end = _first_end(self._text, final)
            except _Wait:
                break
            if end is None:
                break
            found.append(self._text[:end])
            self._text = self._text[end:]
        if final:
            found.append(self._text)
            self._text = ""
        return [" ".join(piece.split()) for piece in found if piece.strip()]


def _first_end(text: str, final: bool) -> int | None:
    """Return the offset after the first sentence of `text`, or None if it has no end in it."""
    start = len(text) - len(text.lstrip())
    for stop in _STOP.finditer(text, start):
        at = stop.start()
        if text[at] == "\n":
            if _line_break_ends(text, at, final):
                return at + 1
        else:
            end = _sentence_end(text, start, at, final)
            if end is not None:
                return end
    return None


def _line_break_ends(text: str, at: int, final: bool) -> bool:
    """Tell whether the line break at `at` ends a sentence: a blank line or a list item follows."""
    after = text[at + 1 :].lstrip(_SPACES + "\r")
    if not final and (not after or _LIST_MARK_STARTED.match(after)):
        raise _Wait
    return after.startswith("\n") or _LIST_MARK.match(after) is not None


def _sentence_end(text: str, start: int, at: int, final: bool) -> int | None:
    """Return the offset where the sentence that the terminator at `at` closes ends, or None."""
    end = _skip(text, at + 1, _TERMINATORS + _CLOSERS)
    if end == len(text):
        return _at_end(end, final)
    if text[at] == "." and _is_abbreviation(text, start, at):
        return None
    end, marked = _skip_marks(text, end, final)
    if end == len(text):
        return _at_end(end, final)
    if not text[end].isspace():
        return end if marked else None
    following = text[end:].lstrip()
    if not following:
        return _at_end(end, final)
    if marked or "\n" in text[end : len(text) - len(following)]:
        return end
    return None if following[0].islower() else end


def _at_end(end: int, final: bool) -> int:
    if not final:
        raise _Wait
    return end


def _skip(text: str, at: int, chars: str) -> int:
    while at < len(text) and text[at] in chars:
        at += 1
    return at


def _skip_marks(text: str, end: int, final: bool) -> tuple[int, bool]:
    """Move past citation marks, and the full stops between them, that follow a full stop."""
    marked = False
    while True:
        at = _skip(text, end, _SPACES)
        if at < len(text) and text[at] == "[":
            mark = _MARK.match(text, at)
            if mark is None:
                if not final and _MARK_STARTED.match(text, at):
                    raise _Wait
                return end, marked
            end, marked = mark.end(), True
            end = _skip(text, end, _TERMINATORS + ",;")
        elif at == len(text) and not final:
            raise _Wait
        else:
            return end, marked


def _is_abbreviation(text: str, start: int, at: int) -> bool:
    """Tell whether the full stop at `at` belongs to an abbreviation or an item number."""
    before = text[start:at]
    if _ITEM_NUMBER.fullmatch(before):
        return True
    # No abbreviation is longer, and the search begins anew at every character.
    word = _LAST_WORD.search(before[-_LONGEST:])
    if word is None:
        return False
    return _ABBREVIATION.fullmatch(word.group().rstrip(".")) is not None
