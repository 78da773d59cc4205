"""Emergency advice on stdout, before anything slow is imported."""

from __future__ import annotations

import sys

from medqa_tui.cli import output, terminal
from medqa_tui.cli.words import wrapped
from medqa_tui.domain import Triage, TriageLevel
from medqa_tui.safety import triage

_STYLES = {
    TriageLevel.URGENT: "bold yellow",
    TriageLevel.EMERGENCY: "bold red",
    TriageLevel.CRISIS: "bold",
}


def give(text: str, *, silent: bool = False) -> Triage:
    """Check `text` for red flags and write the advice at once.

    Args:
        silent: Only check, for output that carries the advice itself.
    """
    found = triage.check(text)
    if found.level is not TriageLevel.NONE and not silent:
        advice = wrapped(found.advice, terminal.text_width(sys.stdout))
        output.write(advice, style=_STYLES[found.level], flush=True)
        output.write(flush=True)
    return found
