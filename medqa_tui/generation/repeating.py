"""N-gram blocking that looks at the draft alone: a grounded answer repeats its evidence."""

from __future__ import annotations

from typing import Any


class NoRepeatInDraft:
    """A logits processor that lets no run of `size` tokens of the draft be written again.

    transformers' own looks at the prompt of a causal model as well, and would forbid to quote it.
    """

    def __init__(self, size: int, prompt_length: int) -> None:
        from transformers import NoRepeatNGramLogitsProcessor

        self._inner = NoRepeatNGramLogitsProcessor(size)
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores (beams, vocabulary), what would repeat a run at minus infinity."""
        return self._inner(input_ids[:, self._prompt_length :], scores)
