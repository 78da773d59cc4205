"""What a hub of the tests can do wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    CUT = "cut"
    RESET = "reset"
    HOLD = "hold"
    TRICKLE = "trickle"
    WRONG_BYTES = "wrong bytes"
    POINTER = "pointer"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to an answer; `times` is how often, 0 for always."""

    kind: Kind
    times: int = 0
    status: int = 0
    fraction: float = 0.5
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def answer(cls, status: int, times: int = 0, **headers: str) -> Self:
        """Answer with this status and nothing else; `Retry_After="0"` becomes a header."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return cls(Kind.STATUS, times, status=status, headers=named)

    @classmethod
    def cut(cls, fraction: float = 0.5, times: int = 1) -> Self:
        """Close the connection after that part of what was asked for."""
        return cls(Kind.CUT, times, fraction=fraction)

    @classmethod
    def reset(cls, fraction: float = 0.5, times: int = 1) -> Self:
        """As `cut`, with a TCP reset."""
        return cls(Kind.RESET, times, fraction=fraction)

    @classmethod
    def hold(cls, fraction: float = 0.5, times: int = 1) -> Self:
        """Send that part, set `hub.holding`, and send no more until `hub.release` is set."""
        return cls(Kind.HOLD, times, fraction=fraction)

    @classmethod
    def trickle(cls, times: int = 0) -> Self:
        """Send a few hundred bytes at a time, each in a packet of its own."""
        return cls(Kind.TRICKLE, times)

    @classmethod
    def wrong_bytes(cls, times: int = 0) -> Self:
        """Send as many bytes as promised, the last of them changed."""
        return cls(Kind.WRONG_BYTES, times)

    @classmethod
    def pointer(cls, times: int = 0) -> Self:
        """Send a git-lfs pointer where the file should be."""
        return cls(Kind.POINTER, times)

    @classmethod
    def truncated(cls, fraction: float = 0.5, times: int = 0) -> Self:
        """Send the beginning of the file as if it were all of it."""
        return cls(Kind.TRUNCATED, times, fraction=fraction)
