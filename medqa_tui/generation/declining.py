"""Whether a model that begins to decline is sure enough: a threshold on how likely it finds that.

Small models learn to decline better than they learn when to. The log-probability of the declining
sentence ranks questions by it, and a threshold chosen on development questions sets how often one
is declined although its evidence answers (selective prediction: El-Yaniv and Wiener, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Opening:
    """How the declining sentence begins, in tokens.

    Attributes:
        closed: Every token that spells the second word, in capitals or without its blank.
    """

    first: int
    second: int
    closed: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, sentence: str) -> Self:
        """Return the opening of `sentence`, of at least two tokens."""
        first, second, *_ = tokenizer.encode(sentence, add_special_tokens=False)
        word = tokenizer.decode([second]).strip().lower()
        closed = tuple(
            token
            for token in range(len(tokenizer))
            if tokenizer.decode([token]).strip().lower() == word
        )
        return cls(first, second, closed)


class DeclineOnlyIfSure:
    """A logits processor that closes the way into the declining sentence below a threshold.

    The first two tokens decide: after them the sentence goes on almost surely.
    """

    def __init__(self, prompt_length: int, opening: Opening, threshold: float) -> None:
        """Watch the first two tokens after the prompt.

        Args:
            prompt_length: Tokens before the answer.
            threshold: Least log-probability of both tokens together at which it may be said.
        """
        self._prompt_length = prompt_length
        self._opening = opening
        self._threshold = threshold
        self._first = 0.0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores, the closed ones at minus infinity where it is below the threshold.

        Args:
            input_ids: Prompt and what is written so far, shape (beams, tokens).
            scores: Logits of the next token, shape (beams, vocabulary).
        """
        written = input_ids.shape[1] - self._prompt_length
        if written == 0:
            # One prompt, so the same for every beam.
            self._first = _log_probability(scores[0], self._opening.first)
        elif written == 1:
            begun = (input_ids[:, -1] == self._opening.first).nonzero().flatten().tolist()
            for beam in begun:
                both = self._first + _log_probability(scores[beam], self._opening.second)
                if both < self._threshold:
                    scores = scores.clone()
                    scores[beam, list(self._opening.closed)] = -float("inf")
        return scores


def _log_probability(scores: Any, token: int) -> float:
    return float(scores.float().log_softmax(-1)[token])
