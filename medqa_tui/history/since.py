"""Times as people type them: a date, `7d`, `yesterday`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from medqa_tui.errors import UsageError

_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SPAN = re.compile(
    r"(\d{1,6})\s*(?:(m|min|mins|minutes?)|(h|hours?)|(d|days?)|(w|weeks?))(?:\s+ago)?"
)


def parse(text: str, now: datetime | None = None) -> str:
    """Return the ISO time (UTC) that `text` means, in the user's time zone where that matters.

    Args:
        text: An ISO date or time (`2026-03-01`, `2026-03-01T12:00`), a span (`30m`, `12h`, `7d`,
            `2w`, `3 days ago`), `today` or `yesterday`.
        now: The present, with a time zone; the user's own if it is left out.

    Raises:
        UsageError: It means no time.
    """
    now = now or datetime.now().astimezone()
    said = " ".join(text.lower().split())
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    try:
        if said in ("today", "yesterday"):
            found = midnight - timedelta(days=int(said == "yesterday"))
        elif span := _SPAN.fullmatch(said):
            unit = next(group for group in span.groups()[1:] if group)[0]
            found = now - int(span[1]) * _UNITS[unit]
        else:
            found = datetime.fromisoformat(text.strip())
            if found.tzinfo is None:
                found = found.replace(tzinfo=now.tzinfo)
        return found.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "This is no time:",
            f"{text!r}.",
            "Such as: --since 7d, --since yesterday, or --since 2026-03-01",
        ) from error
