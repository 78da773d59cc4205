"""How long the engine stays after its last work."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from medqa_tui.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# One answer is several requests; leaving in the gap between two of them would cut it in half.
_BETWEEN_REQUESTS_S = 2.0
# An engine that was told to leave at once must still be there for the question it was started for.
_FIRST_WORK_S = 60.0


def parse_keep_alive(text: str) -> float | None:
    """Return the seconds that `text` ("30s", "5m", "1h", "0") means; None is forever.

    Raises:
        UsageError: The text is no duration.
    """
    words = text.strip().casefold()
    if words in ("forever", "inf", "-1"):
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", words)
    if not found:
        raise UsageError(
            "The engine's keep_alive is not a length of time.",
            f"engine.keep_alive = {text!r}.",
            'medqa-tui config set engine.keep_alive 5m (or "30s", "0", "forever")',
        )
    return float(found[1]) * _UNITS[found[2]]


class Activity:
    """Counts the work that goes on and tells when there has been none for long enough."""

    def __init__(self, keep_alive: float | None) -> None:
        self.keep_alive = keep_alive
        self._running = 0
        self._worked = False
        self._last = time.monotonic()
        self._changed = asyncio.Event()
        self._loading = True
        self._drain_after: float | None = None

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last work ended; 0 while there is some."""
        return 0.0 if self._running else time.monotonic() - self._last

    @property
    def busy(self) -> bool:
        return self._running > 0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count as work whatever happens inside."""
        self._running += 1
        self._worked = True
        self._changed.set()
        try:
            yield
        finally:
            self._running -= 1
            self._touch()

    def loaded(self) -> None:
        """Say that warming up is over: idling counts from here."""
        self._loading = False
        self._touch()

    def drain(self, at_once: bool = False) -> None:
        """Ask to leave when the work that goes on is done; `at_once` leaves no time for more."""
        self._drain_after = 0.0 if at_once or not self._worked else _BETWEEN_REQUESTS_S
        self._changed.set()

    async def until_idle(self) -> None:
        """Return when the engine may leave."""
        while (left := self._seconds_left()) is None or left > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    def _seconds_left(self) -> float | None:
        if self._running:
            return None
        if self._drain_after is not None:
            return self._drain_after - self.idle_seconds
        if self._loading or self.keep_alive is None:
            return None
        least = _BETWEEN_REQUESTS_S if self._worked else _FIRST_WORK_S
        return max(self.keep_alive, least) - self.idle_seconds

    def _touch(self) -> None:
        self._last = time.monotonic()
        self._changed.set()
