"""How a question is read before it is searched for: misspelt words put right, lay words explained.

A word is taken for misspelt only if neither the corpus nor the embedding model's vocabulary has it,
and only for a word of the corpus that is near (optimal string alignment distance: Damerau 1964) and
sounds alike: people misspell vowels and double letters, while names of medicines differ in their
consonants, and none may be read as another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from medqa_tui.corpus.record import PassageRecord
from medqa_tui.domain import Passage
from medqa_tui.retrieval.lay import explained, is_lay_word

_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_SUFFIXES = ("s", "es", "ing", "ed", "ly", "y", "er")
_SHORTEST = 5
# Mistakes allowed in words of up to so many letters.
_MISTAKES = ((5, 1), (7, 2))
_MOST_MISTAKES = 3
# Fewer letters than that, and a word with another consonant is another word.
_CONSONANTS_COUNT = 7
_SILENT = dict.fromkeys(map(ord, "aeiouyhw"))
_ALIKE = str.maketrans("ckqzx", "sssss")
# A corpus that has a lay word so often has passages about it: what is meant by "renal" or "germ"
# cell tumours would lead away from them.
_USED = 5
# Of a large corpus a word that stands once is no model: as often a slip of the pen as a rare name.
_SMALL = 5000


@dataclass(frozen=True, slots=True)
class Reading:
    """A question as it was understood.

    Attributes:
        text: The question, its misspelt words put right.
        added: What health pages call the lay words in it.
        corrections: Words as they were typed, and as they are read.
    """

    text: str
    added: tuple[str, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()

    @property
    def searched(self) -> str:
        """What is looked for: the question, and the other words for what it says."""
        return f"{self.text} ({', '.join(self.added)})" if self.added else self.text


class Reader:
    """Reads questions with the words of a corpus in mind.

    Args:
        vocabulary: Words of the corpus in small letters, and how often it has them.
        knows: Tells whether a word in small letters is a common one of the language.
        passages: How many the corpus has.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], knows: Callable[[str], bool], passages: int = 0
    ) -> None:
        self._counts = vocabulary
        least = 2 if passages > _SMALL else 1
        self._candidates = [
            word
            for word, count in vocabulary.items()
            if len(word) >= _SHORTEST - 1 and count >= least
        ]
        self._knows = knows

    def read(self, question: str) -> Reading:
        """Return `question` as it is understood; unchanged where every word is known."""
        corrections: dict[str, str] = {}

        def put_right(match: re.Match[str]) -> str:
            word = match[0].lower()
            right = self._corrected(word)
            if right == word:
                return match[0]
            corrections[match[0]] = right
            return right

        text = _WORD.sub(put_right, question)
        return Reading(text, explained(text, self._is_used), tuple(corrections.items()))

    def _is_used(self, word: str) -> bool:
        return self._counts.get(word, 0) >= _USED

    def _corrected(self, word: str) -> str:
        if len(word) < _SHORTEST or self._is_known(word):
            return word
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        allowed = next((most for length, most in _MISTAKES if len(word) <= length), _MOST_MISTAKES)
        near = process.extract(
            word, self._candidates, scorer=OSA.distance, score_cutoff=allowed, limit=None
        )
        # The first letter is seldom wrong: where it is, nothing else may be.
        ranked = [
            (mistakes, other[0] != word[0], -self._counts[other], other)
            for other, mistakes, _ in near
            if (other[0] == word[0] or mistakes == 1) and _sounds_like(word, other, int(mistakes))
        ]
        return min(ranked)[-1] if ranked else word

    def _is_known(self, word: str) -> bool:
        stems = [word.removesuffix(suffix) for suffix in _SUFFIXES if word.endswith(suffix)]
        forms = [word, *stems, *(stem + "e" for stem in stems)]
        return any(self._has(form) for form in forms)

    def _has(self, form: str) -> bool:
        return form in self._counts or is_lay_word(form) or self._knows(form)


def vocabulary(records: Iterable[PassageRecord]) -> Counter[str]:
    """Return the words of the passages; their other phrasings may be misspelt on purpose."""
    found: Counter[str] = Counter()
    for record in records:
        count_words(record.passage, found)
    return found


def count_words(passage: Passage, into: Counter[str]) -> None:
    """Add the words of a passage to `into`."""
    text = f"{passage.title} {passage.question or ''} {passage.text}"
    into.update(word.lower() for word in _WORD.findall(text))


def _sounds_like(word: str, other: str, mistakes: int) -> bool:
    """Say whether two words that are `mistakes` apart differ at most in one consonant.

    A consonant must be the only mistake, and in short words their letters be the same.
    """
    from rapidfuzz.distance import OSA

    consonants = OSA.distance(_consonants(word), _consonants(other))
    if consonants == 0:
        return True
    same_letters = sorted(word) == sorted(other)
    return mistakes == 1 and (len(word) >= _CONSONANTS_COUNT or same_letters)


def _consonants(word: str) -> str:
    """Return the consonants that are heard, those that sound alike as one, none twice in a row."""
    heard = word.translate(_SILENT).translate(_ALIKE)
    return "".join(letter for letter, _ in groupby(heard))
