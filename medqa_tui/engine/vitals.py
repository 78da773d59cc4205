"""Whether a process does anything at all, seen from outside: slow is not the same as hung."""

from __future__ import annotations

import contextlib
from typing import Any

# An engine that does nothing but say how it is uses less than that.
_LEAST_S = 0.2
_LEAST_SHARE = 0.01
_BYTES_A_SECOND = 1e6
# An engine whose process sleeps all the while gets no more than this.
_ASLEEP_S = 30.0


class Vitals:
    """What a process has computed and read since it was last looked at."""

    def __init__(self, pid: int | None = None) -> None:
        import psutil

        self._process: Any = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)
        self._before, self._elapsed = self._work(), 0.0

    def moved(self, seconds: float) -> bool:
        """Count `seconds` more; return whether it did more than wait since it last had."""
        self._elapsed += seconds
        work = self._work()
        if work - self._before <= max(_LEAST_S, _LEAST_SHARE * self._elapsed):
            return False
        self._before, self._elapsed = work, 0.0
        return True

    def _work(self) -> float:
        """Return the seconds it computed, and those it may have read for, since its start."""
        import psutil

        if self._process is None:
            return 0.0
        try:
            times = self._process.cpu_times()
            # What a memory map brings in counts here, and nowhere else.
            read = getattr(self._process, "io_counters", None)
            return float(times.user + times.system) + (
                read().read_bytes / _BYTES_A_SECOND if read else 0.0
            )
        except (psutil.Error, OSError, AttributeError):
            return 0.0


class Silence:
    """How long a process that does not answer is waited for.

    Args:
        limit: Seconds for one that computes or reads; a sleeping one gets at most 30. 0 is for
            ever.
    """

    def __init__(self, pid: int | None, limit: float) -> None:
        self._vitals = Vitals(pid) if pid else None
        self._limit = limit
        self._asleep = min(_ASLEEP_S, limit)
        self.seconds = 0.0
        self._still = 0.0

    def lasted(self, seconds: float) -> bool:
        """Count `seconds` more without an answer; return whether that is enough."""
        self.seconds += seconds
        moved = self._vitals is not None and self._vitals.moved(seconds)
        self._still = 0.0 if moved else self._still + seconds
        if not self._limit:
            return False
        return self._still >= self._asleep or self.seconds >= self._limit
