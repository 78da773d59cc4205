"""Which sentences of a draft may be shown, decided as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medqa_tui.domain import Evidence, GeneratorKind, Sentence, Support

# A draft is worth showing from the first sentence that stands this well ...
_CARRIES = 0.65
# ... in a passage whose cosine is this near to the best one's: a small model that has the answer
# before it may still talk about the passage beside it.
_BEST_MARGIN = 0.08
# One that begins with so many sentences that do not is not worth the rest of its tokens.
_HOPELESS_LEFT_OUT = 2
_HOPELESS_WAITING = 3


@dataclass
class Draft:
    """What one generator has written so far, sentence by sentence.

    Attributes:
        evidence: The passages it is written from.
        kept: Sentences of the answer.
        waiting: Supported sentences that wait for one that shows the draft to be to the point.
        left_out: Sentences that do not stand in the evidence.
    """

    evidence: Sequence[Evidence] = ()
    kept: list[Sentence] = field(default_factory=list)
    waiting: list[Sentence] = field(default_factory=list)
    left_out: list[Sentence] = field(default_factory=list)

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing can be shown, and nothing is likely to come."""
        tried = len(self.left_out) + len(self.waiting)
        return not self.kept and (
            len(self.left_out) >= _HOPELESS_LEFT_OUT or tried >= _HOPELESS_WAITING
        )

    def take(self, sentence: Sentence, generator: GeneratorKind) -> tuple[Sentence, ...]:
        """Add a checked sentence and return those that may be shown now, in order.

        Sentences that only quote are to the point by their choice, so they never wait; nor do those
        that there is nothing to check against.
        """
        if any(sentence.text == other.text for other in (*self.kept, *self.waiting)):
            return ()  # small models say a thing twice before the loop is noticed
        if sentence.support is Support.UNSUPPORTED:
            self.left_out.append(sentence)
            return ()
        self.waiting.append(sentence)
        free = generator is GeneratorKind.EXTRACTIVE or sentence.support is Support.NOT_CHECKED
        if not self.kept and not free and not self._is_to_the_point(sentence):
            return ()
        released, self.waiting = tuple(self.waiting), []
        self.kept += released
        return released

    def _is_to_the_point(self, sentence: Sentence) -> bool:
        if (sentence.score or 0.0) < _CARRIES:
            return False
        cosines = {e.n: e.scores.dense for e in self.evidence if e.scores.dense is not None}
        cited = [cosines[n] for n in sentence.citations if n in cosines]
        return not cosines or (bool(cited) and max(cited) >= max(cosines.values()) - _BEST_MARGIN)
