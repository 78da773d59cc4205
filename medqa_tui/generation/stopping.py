"""When a model goes round in circles."""

from __future__ import annotations

from collections.abc import Sequence

# So many tokens in a row, written once more, are a sentence said twice.
_LONG_REPEAT = 16
# A short unit written again and again: its longest length in tokens, and what makes a loop.
_MAX_UNIT = 12
_UNIT_TIMES = 3
_UNIT_TOKENS = 8


def repeats(tokens: Sequence[int]) -> bool:
    """Tell whether the end of `tokens` repeats itself: one unit many times, or a long run twice.

    Args:
        tokens: What was generated so far, without the prompt; copying the prompt is no loop.
    """
    return _long_repeat(tokens) or any(
        _unit_repeat(tokens, size) for size in range(1, _MAX_UNIT + 1)
    )


def first_loop(tokens: Sequence[int], start: int) -> int | None:
    """Return the length, greater than `start`, at which `tokens` begins to loop, or None."""
    for length in range(start + 1, len(tokens) + 1):
        if repeats(tokens[:length]):
            return length
    return None


def _unit_repeat(tokens: Sequence[int], size: int) -> bool:
    times = max(_UNIT_TIMES, -(-_UNIT_TOKENS // size))
    if len(tokens) < size * times:
        return False
    unit = list(tokens[-size:])
    return all(
        list(tokens[-size * (i + 1) : len(tokens) - size * i]) == unit for i in range(1, times)
    )


def _long_repeat(tokens: Sequence[int]) -> bool:
    if len(tokens) < 2 * _LONG_REPEAT:
        return False
    tail = list(tokens[-_LONG_REPEAT:])
    last_start = len(tokens) - 2 * _LONG_REPEAT
    return any(list(tokens[at : at + _LONG_REPEAT]) == tail for at in range(last_start, -1, -1))
