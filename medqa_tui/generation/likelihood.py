"""How likely a model finds a given answer, token by token (teacher forcing)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def of_answers(
    model: Any, prompt: Sequence[int], answers: Sequence[Sequence[int]], *, seq2seq: bool
) -> list[tuple[float, ...]]:
    """Return the natural log-probability of each token of each answer after the prompt.

    The prompt is read once, whatever the number of answers.

    Args:
        prompt: Token ids; for an encoder-decoder model, its input.
        answers: Token ids; none is empty.
    """
    import torch

    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.no_grad():
        if seq2seq:
            return [_decoded(model, ids, answer) for answer in answers]
        read = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        return [_continued(model, read, answer) for answer in answers]


def _continued(model: Any, read: Any, answer: Sequence[int]) -> tuple[float, ...]:
    import torch

    scores = read.logits[:, -1:]
    if len(answer) > 1:
        told = torch.tensor([list(answer[:-1])], device=model.device)
        # A forward pass adds to the cache it is given.
        past = copy.deepcopy(read.past_key_values)
        later = model(input_ids=told, past_key_values=past, use_cache=True).logits
        scores = torch.cat([scores, later], dim=1)
    return _picked(scores, answer)


def _decoded(model: Any, ids: Any, answer: Sequence[int]) -> tuple[float, ...]:
    import torch

    labels = torch.tensor([list(answer)], device=model.device)
    return _picked(model(input_ids=ids, labels=labels).logits, answer)


def _picked(scores: Any, answer: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of each of the answer's tokens; scores: (1, tokens, words)."""
    rows = scores[0].float().log_softmax(-1)
    return tuple(float(rows[at, token]) for at, token in enumerate(answer))
