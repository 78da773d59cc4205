"""Which sentences of the evidence say most of what a known answer says.

Greedy oracle selection, as extractive summarizers are taught (Nallapati, Zhai and Zhou, AAAI 2017):
sentences are taken as long as they bring the selection nearer to the reference. What is learnt from
it is to choose and to cite, never to word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medqa_tui.domain import Evidence
from medqa_tui.evaluation.overlap import tokens
from medqa_tui.generation.extractive import is_quotable, leans
from medqa_tui.grounding.citations import format_marks, parse
from medqa_tui.grounding.sentences import split_sentences

_SAME = 0.8


@dataclass(frozen=True, slots=True)
class Selected:
    """Sentences of the evidence, each with its mark, in reading order.

    Attributes:
        f1: Token F1 of all of them together against the reference, in [0, 1].
    """

    text: str
    f1: float


@dataclass(frozen=True, slots=True)
class _Choice:
    n: int
    place: int
    text: str
    words: Counter[str]

    @property
    def length(self) -> int:
        return len(self.text.split())

    def stands(self, taken: Sequence[_Choice]) -> bool:
        """Tell whether it is understood: it leans on none but a sentence taken before it."""
        before = any((each.n, each.place + 1) == (self.n, self.place) for each in taken)
        return before or not leans(self.text)

    def repeats(self, taken: Sequence[_Choice]) -> bool:
        """Tell whether one that is taken says it already, in nearly the same words."""
        own = self.words.total()
        return any((each.words & self.words).total() > _SAME * own for each in taken)


def select_for(
    reference: str,
    question: str,
    evidence: Sequence[Evidence],
    *,
    words: int,
    most: int,
    worth: Callable[[str], float] = lambda sentence: 0.0,
) -> Selected:
    """Return the sentences, at most `most` of `words` words in all; none if none shares a word.

    The passage that holds the best of them comes first, its sentences in their own order.

    Args:
        worth: What a sentence is worth beside its gain in F1. Overlap with one reference is noisy:
            what a sentence has to do with the question makes it a choice that can be learnt.
    """
    wanted = Counter(tokens(reference))
    left, taken = _choices(question, evidence), list[_Choice]()
    said: Counter[str] = Counter()
    best, room = 0.0, words
    while len(taken) < most:
        fit = (e for e in left if e.length <= room and e.stands(taken) and not e.repeats(taken))
        scored = [(_f1(said + each.words, wanted), each) for each in fit]
        better = [(f1 + worth(each.text), f1, each) for f1, each in scored if f1 > best]
        if not better:
            break
        # Of equals, the one that stands first.
        _, best, chosen = max(better, key=lambda found: (found[0], -found[2].n, -found[2].place))
        taken.append(chosen)
        left.remove(chosen)
        said += chosen.words
        room -= chosen.length
    order: dict[int, int] = {}
    for each in taken:
        order.setdefault(each.n, len(order))
    taken.sort(key=lambda each: (order[each.n], each.place))
    return Selected(" ".join(f"{each.text} {format_marks((each.n,))}" for each in taken), best)


def _choices(question: str, evidence: Sequence[Evidence]) -> list[_Choice]:
    found = []
    for item in evidence:
        for place, raw in enumerate(split_sentences(item.passage.text)):
            text = parse(raw)[0]
            if is_quotable(text, question):
                found.append(_Choice(item.n, place, text, Counter(tokens(text))))
    return found


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    return 2 * (said & wanted).total() / max(1, said.total() + wanted.total())
