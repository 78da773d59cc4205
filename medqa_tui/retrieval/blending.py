"""One order out of a cross-encoder's logits and the search's own scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blend:
    """How much a cross-encoder may change the search's order: more, the surer it is.

    The model is asked which of the passages answers, or whether none does: a softmax over its
    logits and one more for "none". Its share times `reach` is added to the search's score. A logit
    added as it is, with one weight for all questions, led questions astray that are unlike the
    model's training data, where logits are all low and differ by chance.

    Attributes:
        reach: What a passage gains where the model is sure that it is this one; in units of the
            search's score, which parts the best of 16 passages from the last by some .25.
        absent: The logit of "none of these"; about the mean logit of passages that were found.
        temperature: By which logits are divided first; above 1, the model has to be surer.
    """

    reach: float = 0.3
    absent: float = -8.0
    temperature: float = 2.0

    def scores(self, logits: Sequence[float], retrieved: Sequence[float]) -> list[float]:
        """Return the scores by which passages are ordered, in the order given.

        Args:
            logits: The cross-encoder's, of each passage.
            retrieved: The search's own score of each.
        """
        shares = self.shares(logits)
        return [own + self.reach * share for own, share in zip(retrieved, shares, strict=True)]

    def shares(self, logits: Sequence[float]) -> list[float]:
        """Return how likely each passage is the one that answers; what lacks to 1 is "none"."""
        most = max([*logits, self.absent])
        *powers, absent = (
            math.exp((logit - most) / self.temperature) for logit in (*logits, self.absent)
        )
        total = sum(powers) + absent
        return [power / total for power in powers]
