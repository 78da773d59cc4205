"""What a generator learns from: a question, perhaps its evidence, and the answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.domain import Evidence, Passage
from medqa_tui.generation import prompt
from medqa_tui.grounding.citations import parse
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.training.generator_presets import GeneratorPreset
from medqa_tui.training.selecting import select_for
from medqa_tui.training.sources import Example

if TYPE_CHECKING:
    from medqa_tui.retrieval.lexical import LexicalIndex

_NEAREST = 12
"""Of so many passages that retrieval puts first, the wrong ones are drawn."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One thing to learn.

    Attributes:
        evidence: Passages in the order they are shown; None where it answers from memory.
        answer: What is to be written.
    """

    id: str
    question: str
    answer: str
    evidence: tuple[Evidence, ...] | None = None

    @property
    def abstains(self) -> bool:
        """Whether the evidence does not answer, which is to be said."""
        return self.answer == prompt.ABSTAIN

    @property
    def messages(self) -> tuple[prompt.Message, ...]:
        """The program's own prompt for it."""
        if self.evidence is None:
            return prompt.closed_book(self.question)
        return prompt.build(self.question, self.evidence)


def lessons(
    examples: Sequence[Example],
    preset: GeneratorPreset,
    pool: Sequence[Example] = (),
    seed: int | None = None,
) -> list[Lesson]:
    """Return one lesson for each example; the seed decides all that is drawn.

    Args:
        pool: Where wrong passages come from, beside the examples; of no held-out topic.
        seed: Another than the preset's.
    """
    if not preset.evidence:
        return [
            Lesson(e.id, e.asked.question, first_sentences(e.text, preset.answer_sentences))
            for e in examples
        ]
    draw = random.Random(preset.seed if seed is None else seed)  # noqa: S311 - repeatable
    known = {example.id for example in examples}
    bare = [example for example in examples if not example.given]
    shelf = _Shelf([*bare, *(e for e in pool if e.id not in known)]) if bare else None
    return [
        _with_evidence(example, shelf, preset, draw)
        if shelf and not example.given
        else _from_given(example, preset)
        for example in examples
    ]


def first_sentences(text: str, count: int) -> str:
    """Return the first `count` sentences, or all for 0."""
    return " ".join(split_sentences(text)[:count]) if count else text


class _Shelf:
    """Passages, and which of them retrieval takes for an answer although they are none."""

    def __init__(self, passages: Sequence[Example]) -> None:
        from medqa_tui.retrieval.lexical import LexicalIndex

        self._passages = passages
        self._index: LexicalIndex = LexicalIndex.build(
            f"{each.heading}\n{each.text}" for each in passages
        )

    def wrong(self, example: Example) -> tuple[list[Example], list[Example]]:
        """Return passages of the example's own topic, and of others; best first in each."""
        scores = self._index.scores(example.asked.question)
        order = sorted(range(len(self._passages)), key=lambda n: -float(scores[n]))
        own: list[Example] = []
        others: list[Example] = []
        for each in (self._passages[n] for n in order):
            if each.id == example.id or each.text == example.text:
                continue
            same = bool(example.asked.focus) and each.asked.focus == example.asked.focus
            (own if same else others).append(each)
        return own[:_NEAREST], others[:_NEAREST]


def _with_evidence(
    example: Example, shelf: _Shelf, preset: GeneratorPreset, draw: random.Random
) -> Lesson:
    question = draw.choice([example.asked.question, *example.phrasings])
    own, others = shelf.wrong(example)
    missing = bool(own or others) and draw.random() < preset.abstaining
    # So that the make-up of the evidence betrays nothing: in half of the lessons, answering or not,
    # passages of the same topic stand there, and it is not always full.
    same = own if draw.random() < 0.5 else []
    fewest = 1 if missing else 0
    count = draw.randint(fewest, max(fewest, preset.passages - (0 if missing else 1)))
    wrong = draw.sample(same, min(len(same), count))
    wrong += draw.sample(others, min(len(others), count - len(wrong)))
    draw.shuffle(wrong)
    shown = list(wrong)
    if not missing:
        shown.insert(draw.randint(0, len(wrong)), example)
    evidence = tuple(Evidence(n, _passage(each, preset)) for n, each in enumerate(shown, 1))
    if missing:
        return Lesson(example.id, question, prompt.ABSTAIN, evidence)
    n = shown.index(example) + 1
    said = split_sentences(_passage(example, preset).text)
    answer = " ".join(f"{text} [{n}]" for text in said[: preset.answer_sentences or None])
    return Lesson(example.id, question, answer, evidence)


def _from_given(example: Example, preset: GeneratorPreset) -> Lesson:
    """Return a lesson on what a search found.

    An answer that cites is learnt as it stands; of another one, the sentences of the evidence that
    come nearest to it.
    """
    if not example.answerable:
        answer = prompt.ABSTAIN
    elif any(parse(sentence)[1] for sentence in split_sentences(example.text)):
        answer = example.text
    else:
        answer = _nearest(example, preset) or prompt.ABSTAIN
    return Lesson(example.id, example.asked.question, answer, example.given)


def _nearest(example: Example, preset: GeneratorPreset) -> str:
    most = preset.answer_sentences or len(example.text)
    question, words = example.asked.question, preset.answer_words
    found = select_for(example.text, question, example.given, words=words, most=most)
    return found.text


def _passage(example: Example, preset: GeneratorPreset) -> Passage:
    """Return the passage's leading whole sentences, of about as many words as are wanted."""
    kept: list[str] = []
    for sentence in split_sentences(example.text):
        words = sum(len(text.split()) for text in (*kept, sentence))
        if kept and words > preset.passage_words:
            break
        kept.append(sentence)
    return Passage(
        id=f"training:{example.id}#0",
        corpus="training",
        document=example.id,
        title=example.asked.focus or example.heading,
        text=" ".join(kept),
        question=example.heading,
    )
