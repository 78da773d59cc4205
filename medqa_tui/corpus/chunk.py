"""Long texts cut on sentence boundaries into passages that an embedder reads whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medqa_tui.grounding.sentences import SentenceBuffer

MAX_WORDS = 160
"""Words a chunk: with its question, English medical text of this length stays under the 256 word
pieces that MiniLM reads."""

# A word longer than this is a sequence, a code, or a script that does not part its words.
_LONG_WORD = 60
# Text is looked at in pieces, since finding the next sentence reads all that is left.
_PIECE = 4096
_LIST_MARK = re.compile(r"(?:[-*\u2022\u2013]|\d{1,2}[.)])\s")


def chunk_text(text: str, max_words: int = MAX_WORDS, overlap: bool = False) -> list[str]:
    """Cut `text` into chunks of whole sentences, each of at most `max_words` words.

    A last chunk shorter than a quarter of the limit is evened out with the one before it. A
    sentence that is longer than the limit is cut between words. Nothing is lost: the words of the
    chunks, in order, are the words of the text.

    Args:
        overlap: Whether a chunk begins with the last sentence of the one before it, if that is
            short; what a pronoun means often stands there.
    """
    if _length(text) <= max_words:
        return [text] if text.strip() else []
    pieces = [piece for sentence in _sentences(text) for piece in _cut(sentence, max_words)]
    lengths = [_length(piece) for piece in pieces]
    # Aim at equal chunks, so that the last one is no orphan of a few words.
    count = -(-sum(lengths) // max_words)
    target = min(max_words, -(-sum(lengths) // count) + max_words // 8)
    chunks: list[list[str]] = [[]]
    size = 0
    for at, (piece, length) in enumerate(zip(pieces, lengths, strict=True)):
        if chunks[-1] and size + length > target:
            chunks.append([])
            size = 0
            if overlap and lengths[at - 1] <= max_words // 5 and lengths[at - 1] + length <= target:
                chunks[-1].append(pieces[at - 1])
                size = lengths[at - 1]
        chunks[-1].append(piece)
        size += length
    return [_joined(chunk) for chunk in chunks]


def _length(text: str) -> int:
    words = text.split()
    return len(words) + sum(len(word) // _LONG_WORD for word in words if len(word) > _LONG_WORD)


def _sentences(text: str) -> Iterator[str]:
    buffer = SentenceBuffer()
    for start in range(0, len(text), _PIECE):
        yield from buffer.push(text[start : start + _PIECE])
        if len(buffer.pending) > 4 * _PIECE:
            # No sentence is this long.
            yield from buffer.flush()
    yield from buffer.flush()


def _cut(sentence: str, max_words: int) -> Iterator[str]:
    words = [
        word[start : start + _LONG_WORD]
        for word in sentence.split()
        for start in range(0, len(word), _LONG_WORD)
    ]
    if len(words) <= max_words:
        yield sentence
        return
    for start in range(0, len(words), max_words):
        yield " ".join(words[start : start + max_words])


def _joined(pieces: list[str]) -> str:
    text = pieces[0]
    for piece in pieces[1:]:
        text += ("\n" if _LIST_MARK.match(piece) else " ") + piece
    return text
