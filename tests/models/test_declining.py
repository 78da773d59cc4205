"""The threshold on declining: what it closes, and that all else is left as it was."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from medqa_tui.generation.declining import DeclineOnlyIfSure, Opening

torch = pytest.importorskip("torch")

VOCABULARY = ["The", " evidence", " Evidence", "evidence", " fever", " does"]
OPENING = Opening(0, 1, (1, 2, 3))
PROMPT = [5, 5, 5]


@dataclass
class Words:
    """A tokenizer that knows six tokens."""

    def __len__(self) -> int:
        return len(VOCABULARY)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        assert text == "The evidence does"
        return [0, 1, 5]

    def decode(self, ids: list[int]) -> str:
        return "".join(VOCABULARY[i] for i in ids)


def logits(**likely: float):
    """Return logits (1, 6) of the named probabilities; the rest is shared by the others."""
    at = {"the": 0, "evidence": 1, "fever": 4}
    rest = (1 - sum(likely.values())) / (len(VOCABULARY) - len(likely))
    row = [rest] * len(VOCABULARY)
    for name, value in likely.items():
        row[at[name]] = value
    return torch.tensor([row]).log()


def run(threshold: float, first: str = "the", chosen: int = 0):
    """Return the second step's scores before and after, where the two tokens have .9 * .8."""
    bound = DeclineOnlyIfSure(len(PROMPT), OPENING, threshold)
    bound(torch.tensor([PROMPT]), logits(**{first: 0.9}))
    before = logits(evidence=0.8)
    return before, bound(torch.tensor([[*PROMPT, chosen]]), before)


def test_every_spelling_of_the_second_word_belongs_to_the_opening():
    assert Opening.of(Words(), "The evidence does") == OPENING


def test_below_the_threshold_the_way_is_closed_and_above_it_is_open():
    sure = math.log(0.9 * 0.8)
    before, after = run(sure + 0.01)
    assert torch.isneginf(after[0, [1, 2, 3]]).all()
    assert torch.equal(after[0, [0, 4, 5]], before[0, [0, 4, 5]])
    assert torch.isfinite(before).all()
    before, after = run(sure - 0.01)
    assert torch.equal(after, before)


def test_an_answer_that_begins_otherwise_is_left_alone():
    before, after = run(0.0, first="fever", chosen=4)
    assert torch.equal(after, before)


def test_later_words_are_left_alone():
    bound = DeclineOnlyIfSure(len(PROMPT), OPENING, 0.0)
    bound(torch.tensor([PROMPT]), logits(the=0.9))
    later = torch.tensor([[*PROMPT, 0, 4]])
    scores = logits(evidence=0.8)
    assert torch.equal(bound(later, scores), scores)
