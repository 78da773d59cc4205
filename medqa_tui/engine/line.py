"""One generation at a time: the line in which the others wait."""

from __future__ import annotations

import asyncio

from medqa_tui.errors import EngineError


class Line:
    """A bounded first-come, first-served line; whoever is at its head may generate.

    Args:
        limit: How many may wait behind the one that is served.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tickets: list[Ticket] = []

    @property
    def waiting(self) -> int:
        """How many wait behind the one that is served."""
        return max(0, len(self._tickets) - 1)

    def join(self, turn: str = "") -> Ticket:
        """Stand at the end of the line and return the place in it.

        Args:
            turn: Whose answer it is, for `Ticket.others`.

        Raises:
            EngineError: The line is full.
        """
        if len(self._tickets) > self._limit:
            wait = "answer waits" if self.waiting == 1 else "answers wait"
            raise EngineError(
                "The engine is busy.",
                f"{self.waiting} {wait} already.",
                "Ask again in a moment, or raise the limit: medqa-tui config set engine.queue 16",
            )
        ticket = Ticket(self, turn)
        self._tickets.append(ticket)
        return ticket

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many are before `ticket`."""
        return self._tickets.index(ticket)

    def others_ahead_of(self, ticket: Ticket) -> int:
        """Return how many before `ticket` are of another turn."""
        ahead = self._tickets[: self.ahead_of(ticket)]
        return sum(not other.turn or other.turn != ticket.turn for other in ahead)

    def leave(self, ticket: Ticket) -> None:
        """Take `ticket` out, wherever it stands, and let those behind it move up."""
        self._tickets.remove(ticket)
        for other in self._tickets:
            other.moved.set()


class Ticket:
    """A place in the line."""

    def __init__(self, line: Line, turn: str) -> None:
        self._line = line
        self.turn = turn
        self.moved = asyncio.Event()

    @property
    def ahead(self) -> int:
        """How many are served first; 0 means that it is this one's turn."""
        return self._line.ahead_of(self)

    @property
    def others(self) -> int:
        """How many other answers are served first, not counting an earlier draft of this one."""
        return self._line.others_ahead_of(self)

    def leave(self) -> None:
        """Give the place up, or make room after being served."""
        self._line.leave(self)
