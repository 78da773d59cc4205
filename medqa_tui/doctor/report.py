"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """How a check ended: `warn` still answers questions, `fail` may not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        detail: What was found, in a sentence or two.
        fix: The command to type, or what to do; empty if there is nothing to repair.
    """

    name: str
    status: CheckStatus
    detail: str
    fix: str = ""


def ok(name: str, detail: str) -> Check:
    """Return a check that found everything as it should be."""
    return Check(name, CheckStatus.OK, detail)


def warn(name: str, detail: str, fix: str) -> Check:
    """Return a check that found something the user should know."""
    return Check(name, CheckStatus.WARN, detail, fix)


def fail(name: str, detail: str, fix: str) -> Check:
    """Return a check that found something that keeps the program from answering."""
    return Check(name, CheckStatus.FAIL, detail, fix)


def few(problems: list[str]) -> str:
    """Return up to three problems, as sentences."""
    shown = [f"{problem[:1].upper()}{problem[1:].rstrip('.')}." for problem in problems[:3]]
    if len(problems) > len(shown):
        shown.append(f"And {len(problems) - len(shown)} more.")
    return " ".join(shown)
