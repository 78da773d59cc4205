"""What health pages call the lay words of a question; the words lie in lay_words.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from medqa_tui.retrieval.terms import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST_BETWEEN = 2
"""Words that may stand between those of a phrase: "throw it all up" is "throw up"."""

_WHOLE = 3
"""Words of so many letters are abbreviations as often as not, and keep their endings."""


@dataclass(frozen=True, slots=True)
class _Phrase:
    stems: tuple[str, ...]
    meant: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Lay:
    """The phrases by their first stem, and the lay words that stand alone, as they are written."""

    by_stem: dict[str, tuple[_Phrase, ...]]
    single: frozenset[str]


def explained(text: str, is_used: Callable[[str], bool] = lambda word: False) -> tuple[str, ...]:
    """Return what health pages call the lay words in `text`, unless it says so itself.

    Words match by their stems, and a phrase with a word or two in between as well. Of phrases that
    share a word the longest counts, then the one with the least in between: "number two" is no
    "number".

    Args:
        is_used: Tells whether the corpus uses a word itself; then it needs no explanation.
    """
    lower = text.lower().replace("\u2019", "'")
    tokens = words(lower)
    stems = _stems(tokens)
    found = sorted(_matches(stems), key=lambda match: (-len(match[0]), match[0][-1] - match[0][0]))
    taken: set[int] = set()
    kept = []
    for positions, meant in found:
        if taken.isdisjoint(positions):
            taken.update(positions)
            if len(positions) > 1 or not is_used(tokens[positions[0]]):
                kept.append((positions[0], meant))
    said = (word for _, meant in sorted(kept) for word in meant)
    return tuple(dict.fromkeys(word for word in said if word not in lower))


def is_lay_word(word: str) -> bool:
    """Say whether the list has `word`, in small letters, as a phrase of its own."""
    return word in _lay().single


def _matches(stems: Sequence[str]) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Return every phrase that is there: the positions of its words, and what it stands for."""
    lay = _lay()
    found = []
    for start, stem in enumerate(stems):
        for phrase in lay.by_stem.get(stem, ()):
            positions = _positions(stems, start, phrase.stems)
            if positions:
                found.append((positions, phrase.meant))
    return found


def _positions(stems: Sequence[str], start: int, wanted: tuple[str, ...]) -> tuple[int, ...]:
    last = start + len(wanted) + _MOST_BETWEEN
    positions = [start]
    for stem in wanted[1:]:
        after = positions[-1] + 1
        at = next((i for i in range(after, min(last, len(stems))) if stems[i] == stem), None)
        if at is None:
            return ()
        positions.append(at)
    return tuple(positions)


def _stems(tokens: list[str]) -> list[str]:
    from medqa_tui.retrieval.lexical import stemmer

    stem = stemmer().stemWord
    return [stem(token) if len(token) > _WHOLE else token for token in tokens]


@lru_cache(maxsize=1)
def _lay() -> _Lay:
    file = resources.files("medqa_tui.retrieval").joinpath("lay_words.toml")
    meant: dict[str, list[str]] = tomllib.loads(file.read_text(encoding="utf-8"))["words"]
    by_stem: dict[str, list[_Phrase]] = {}
    for key, terms in meant.items():
        stems = tuple(_stems(words(key)))
        by_stem.setdefault(stems[0], []).append(_Phrase(stems, tuple(terms)))
    single = frozenset(key for key in meant if " " not in key)
    return _Lay({stem: tuple(phrases) for stem, phrases in by_stem.items()}, single)
