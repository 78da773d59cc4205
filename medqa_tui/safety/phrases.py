"""The small phrase language of the red-flag rules, matched over word positions in linear time.

A phrase is a row of words. `a|b` is either, `word*` is any word that begins so, `@name` is a word
of that list, `..` allows up to three words between, `...` up to six. `#` is a number,
`#many` one of 8 or more, `#year` a year.
`<name>` is a named group of phrases, and `first + second` wants both, anywhere in the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# For each last word of a match, the positions of the words that its steps matched, nearest ones.
Spans = dict[int, tuple[int, ...]]

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[a-z]+|\n\s*\n|[.!?;\n]|[,:()\u2013\u2014\u2026-]")
_SENTENCE_ENDS = frozenset(".!?;\u2026")
_CONJUNCTIONS = frozenset({"and", "but", "because", "so", "while", "plus"})
_GAPS = {"..": 3, "...": 6}
_SHORTEST_TYPO = 5
_LONGEST_TYPO = 24
_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBERS = frozenset({"#", "#many", "#year"})
_MANY = 8


@dataclass(slots=True)
class Words:
    """A text as words, each with the sentence, line, comma-part and clause that it belongs to.

    Attributes:
        comma_after: Whether a comma (or the like) follows the word.
        steps: Word comparisons made so far; the measure of the work.
    """

    texts: list[str] = field(default_factory=list)
    sentences: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    clauses: list[int] = field(default_factory=list)
    comma_after: list[bool] = field(default_factory=list)
    positions: dict[str, list[int]] = field(default_factory=dict)
    steps: int = 0
    found: dict[Phrase, Spans] = field(default_factory=dict)
    stepped: dict[Step, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One word of a phrase: what it may be."""

    words: frozenset[str]
    stems: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()

    def positions(self, words: Words) -> list[int]:
        """Return where the text has such a word, in order."""
        if self in words.stepped:
            return words.stepped[self]
        lists = [words.positions[word] for word in self.words if word in words.positions]
        if self.stems or self.numbers:
            lists += [where for word, where in words.positions.items() if self._is_like(word)]
        words.steps += sum(len(where) for where in lists) + len(self.words)
        found = sorted({position for where in lists for position in where})
        words.stepped[self] = found
        return found

    def _is_like(self, word: str) -> bool:
        if word[0].isdigit():
            return (
                "#" in self.numbers
                or ("#many" in self.numbers and float(word) >= _MANY)
                or ("#year" in self.numbers and bool(_YEAR.fullmatch(word)))
            )
        return bool(self.stems) and word.startswith(self.stems)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in a row, with how many others may stand before each."""

    steps: tuple[Step, ...]
    gaps: tuple[int, ...]

    def spans(self, words: Words) -> Spans:
        """Return the matches within a sentence: by their last word.

        Work is at most (gap + 1) comparisons for each occurrence of each step's words.
        """
        if self in words.found:
            return words.found[self]
        spans: Spans = {position: (position,) for position in self.steps[0].positions(words)}
        for step, gap in zip(self.steps[1:], self.gaps[1:], strict=True):
            if not spans:
                break
            spans = self._extend(spans, step, gap, words)
        words.found[self] = spans
        return spans

    @staticmethod
    def _extend(spans: Spans, step: Step, gap: int, words: Words) -> Spans:
        longer: Spans = {}
        for position in step.positions(words):
            for before in range(position - 1, max(-1, position - gap - 2), -1):
                words.steps += 1
                if before in spans and words.sentences[before] == words.sentences[position]:
                    longer[position] = (*spans[before], position)
                    break
        return longer


class Lexicon:
    """Compiles phrases, and knows every word they use, so that typos can be put right.

    Args:
        lists: Named lists of words, for `@name`.
        groups: Named groups of phrases, for `<name>`.
        same: Spellings to read as another word, or as several.
        typos: `words`, whose one-letter typos are put right, and `real_words`, which look like one.
    """

    def __init__(
        self,
        lists: Mapping[str, Sequence[str]],
        groups: Mapping[str, Sequence[str]],
        same: Mapping[str, str],
        typos: Mapping[str, Sequence[str]],
    ) -> None:
        self._lists = lists
        self._groups = groups
        self._same = {tuple(key.split()): value.split() for key, value in same.items()}
        self._longest_same = max((len(key) for key in self._same), default=1)
        self._known = {word for key in self._same for word in key}
        self._known.update(typos["words"], typos["real_words"])
        self._near = self._deletions(typos["words"])

    @staticmethod
    def _deletions(words: Sequence[str]) -> dict[str, list[str]]:
        """Map each word, and each form of it with one letter deleted, to the word.

        Two words are one edit apart only if they share such a form (the symmetric delete method
        of SymSpell, https://github.com/wolfgarbe/SymSpell).
        """
        near: dict[str, list[str]] = {}
        for word in words:
            for form in _deletes(word):
                near.setdefault(form, []).append(word)
        return near

    def group(self, term: str) -> tuple[Phrase, ...]:
        """Return the phrases of `<name>`, or the one phrase that `term` is."""
        if term.startswith("<") and term.endswith(">"):
            return tuple(self.phrase(text) for text in self._groups[term[1:-1]])
        return (self.phrase(term),)

    def phrase(self, text: str) -> Phrase:
        """Compile one phrase.

        Raises:
            ValueError: The phrase is empty or ends in a gap.
        """
        steps, gaps, gap = [], [], 0
        for token in text.split():
            if token in _GAPS:
                gap = _GAPS[token]
                continue
            steps.append(self._step(token))
            gaps.append(gap)
            gap = 0
        if not steps or gap or gaps[0]:
            raise ValueError(f"not a phrase: {text!r}")
        return Phrase(tuple(steps), tuple(gaps))

    def corrected(self, word: str) -> str:
        """Return the rule word that `word` is a typo of, or `word` itself."""
        if not _SHORTEST_TYPO <= len(word) <= _LONGEST_TYPO or word in self._known:
            return word
        for form in _deletes(word):
            for near in self._near.get(form, ()):
                # A typo seldom hits the first letter, and many other words begin differently.
                if near[0] == word[0] and _is_one_edit(word, near):
                    return near
        return word

    def same(self, words: Sequence[str], at: int) -> tuple[list[str], int]:
        """Return how the words from `at` on are to be read, and how many of them that covers."""
        for length in range(min(self._longest_same, len(words) - at), 0, -1):
            read = self._same.get(tuple(words[at : at + length]))
            if read is not None:
                return read, length
        return [words[at]], 1

    def _step(self, token: str) -> Step:
        words, stems, numbers = set[str](), list[str](), set[str]()
        for choice in token.split("|"):
            for word in self._lists[choice[1:]] if choice.startswith("@") else (choice,):
                if word in _NUMBERS:
                    numbers.add(word)
                elif word.endswith("*"):
                    stems.append(word[:-1])
                elif _WORD.fullmatch(word):
                    words.add(word)
                else:
                    raise ValueError(f"not a word: {word!r} in {token!r}")
        self._known |= words
        return Step(frozenset(words), tuple(stems), frozenset(numbers))


def read_words(text: str, lexicon: Lexicon) -> Words:
    """Split `text` into words, put right and read as the rules spell them."""
    plain = unicodedata.normalize("NFKD", text).lower()
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    plain = re.sub("['\u2019\u2018`\u00b4]", "", plain)
    tokens = _TOKEN.findall(plain)
    memo: dict[str, str] = {}
    for token in tokens:
        if token not in memo:
            memo[token] = lexicon.corrected(token)
    tokens = [memo[token] for token in tokens]
    words = Words()
    sentence = line = part = clause = at = 0
    while at < len(tokens):
        token = tokens[at]
        if not token[0].isalnum():
            # A line may be wrapped in the middle of a phrase; a blank line ends one.
            line += token[0] == "\n"
            if token in _SENTENCE_ENDS or len(token) > 1:
                sentence += 1
            elif words.texts:
                words.comma_after[-1] = True
            part, clause = part + 1, clause + 1
            at += 1
            continue
        if token in _CONJUNCTIONS:
            clause += 1
        read, length = lexicon.same(tokens, at)
        for word in read:
            words.positions.setdefault(word, []).append(len(words.texts))
            words.texts.append(word)
            words.sentences.append(sentence)
            words.lines.append(line)
            words.parts.append(part)
            words.clauses.append(clause)
            words.comma_after.append(False)
        at += length
        words.steps += length
    return words


def _deletes(word: str) -> list[str]:
    return [word, *(word[:i] + word[i + 1 :] for i in range(len(word)))]


def _is_one_edit(first: str, second: str) -> bool:
    """Return whether one insertion, deletion, substitution or swap of neighbours parts the two."""
    if abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    a, b = first[start:], second[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
