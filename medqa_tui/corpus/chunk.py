"""Long texts cut on sentence boundaries into passages that an embedder reads whole."""

from __future__ import annotations

from medqa_tui.grounding.sentences import split_sentences

MAX_WORDS = 160
"""Words a chunk: with its question, English medical text of this length stays under the 256 word
pieces that MiniLM reads."""


def chunk_text(text: str, max_words: int = MAX_WORDS) -> list[str]:
    """Cut `text` into chunks of whole sentences, each of at most `max_words` words.

    A last chunk shorter than a quarter of the limit is evened out with the one before it. A
    sentence that is longer than the limit is cut between words. Nothing is lost: the words of the
    chunks, in order, are the words of the text.
    """
    if len(text.split()) <= max_words:
        return [text] if text.strip() else []
    pieces: list[str] = []
    for sentence in split_sentences(text):
        words = sentence.split()
        pieces.extend(
            " ".join(words[start : start + max_words]) for start in range(0, len(words), max_words)
        )
    lengths = [len(piece.split()) for piece in pieces]
    # Aim at equal chunks, so that the last one is no orphan of a few words.
    count = -(-sum(lengths) // max_words)
    target = min(max_words, -(-sum(lengths) // count) + max_words // 8)
    chunks: list[list[str]] = [[]]
    size = 0
    for piece, length in zip(pieces, lengths, strict=True):
        if chunks[-1] and size + length > target:
            chunks.append([])
            size = 0
        chunks[-1].append(piece)
        size += length
    return [" ".join(chunk) for chunk in chunks]
