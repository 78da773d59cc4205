"""What every way to set up says while it works."""

from __future__ import annotations

from medqa_tui.setup.events import OnEvent, Phase, PhaseState, SetupEvent


def tell_of_wait(tell: OnEvent) -> None:
    """Say that the lock is held by another setup."""
    message = "Another setup is running; waiting for it."
    tell(SetupEvent(Phase.PREFLIGHT, PhaseState.PROGRESS, message))


class Meter:
    """Bytes of several parts as one count; speaks when the percentage changes."""

    def __init__(self, phase: Phase, total: int, tell: OnEvent) -> None:
        self._phase = phase
        self._total = total
        self._tell = tell
        self._before = 0
        self._said = (-1, "")

    def report(self, done: int, message: str) -> None:
        """Take the bytes of the part in hand, and words; speak when either changed."""
        now = min(self._before + done, self._total)
        said = (100 * now // max(self._total, 1), message)
        if said != self._said:
            self._said = said
            event = SetupEvent(self._phase, PhaseState.PROGRESS, message, now, self._total, "bytes")
            self._tell(event)

    def finish(self, size: int) -> None:
        """Count a part of `size` bytes as done."""
        self._before += size
