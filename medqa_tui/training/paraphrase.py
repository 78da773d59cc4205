"""Other phrasings of a training question by rules: shortened, in everyday words, misspelt."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

SYNONYM_SHARE = 0.25
LOWER_SHARE = 0.3
TYPO_SHARE = 0.12
LAY_SHARE = 0.4
_SHORTEST_TYPO = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what its data set says of it.

    Attributes:
        focus: What it is about, such as a disease; empty if not known.
        aspect: Which side of it is asked, such as "symptoms"; empty if not known.
        synonyms: Other names of the focus.
    """

    question: str
    focus: str = ""
    aspect: str = ""
    synonyms: tuple[str, ...] = ()


def rephrased(asked: Asked, draw: random.Random) -> str:
    """Return another way to ask the question; a question of no known aspect is only shortened."""
    forms = _wordings().get(asked.aspect, []) if asked.focus else []
    if forms:
        text = draw.choice(forms).format(x=_named(asked, draw))
    else:
        text = asked.question.replace(" (are)", "")
    if draw.random() < LAY_SHARE:
        text = _in_lay_words(text, draw)
    if draw.random() < LOWER_SHARE:
        text = text.lower()
    elif draw.random() < 0.5:
        text = text[:1].upper() + text[1:]
    if not text.endswith("?") and draw.random() < 0.3:
        text += "?"
    return misspelt(text, draw) if draw.random() < TYPO_SHARE else text


def misspelt(text: str, draw: random.Random) -> str:
    """Return `text` with one letter of a long word swapped, left out or doubled."""
    words = text.split()
    long = [n for n, word in enumerate(words) if len(word) >= _SHORTEST_TYPO]
    if not long:
        return text
    at = draw.choice(long)
    word = words[at]
    n = draw.randrange(1, len(word) - 2)
    changes = (
        word[:n] + word[n + 1] + word[n] + word[n + 2 :],
        word[:n] + word[n + 1 :],
        word[:n] + word[n] + word[n:],
    )
    words[at] = draw.choice(changes)
    return " ".join(words)


def _named(asked: Asked, draw: random.Random) -> str:
    name = asked.focus
    if asked.synonyms and draw.random() < SYNONYM_SHARE:
        name = draw.choice(asked.synonyms)
    elif draw.random() < 0.5:
        name = re.sub(r"\s*\(.*?\)", "", name) or name
    # "Type 2 diabetes" begins small inside a sentence; "HIV" does not.
    return name if name[:2].isupper() or draw.random() < 0.4 else name[:1].lower() + name[1:]


def _in_lay_words(text: str, draw: random.Random) -> str:
    """Return `text` with a term of health pages replaced by an everyday word for it."""
    low = text.lower()
    # There are thousands of terms: only those that are there at all are looked for as words.
    near = [term for term in _everyday() if term in low]
    found = [term for term in near if re.search(rf"\b{re.escape(term)}\b", low)]
    if not found:
        return text
    term = draw.choice(found)
    return re.sub(rf"\b{re.escape(term)}\b", draw.choice(_everyday()[term]), text, flags=re.I)


@cache
def _wordings() -> dict[str, list[str]]:
    file = resources.files("medqa_tui.training").joinpath("wordings.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


@cache
def _everyday() -> dict[str, list[str]]:
    """Return what each term of health pages is called in everyday words."""
    file = resources.files("medqa_tui.retrieval").joinpath("lay_words.toml")
    words: dict[str, list[str]] = tomllib.loads(file.read_text(encoding="utf-8"))["words"]
    terms: dict[str, list[str]] = {}
    for lay, meant in words.items():
        # Two meanings need both words to be the same thing.
        if len(meant) == 1:
            terms.setdefault(meant[0], []).append(lay)
    return terms
