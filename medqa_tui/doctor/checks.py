"""All checks, in the order a broken installation is repaired in; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from medqa_tui.doctor import installed, libraries, machine, services
from medqa_tui.doctor.report import Check, CheckStatus, fail
from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.doctor.trial import Outcome
    from medqa_tui.paths import Paths

__all__ = ["Check", "CheckStatus", "merge", "run"]


def run(
    paths: Paths,
    settings: Settings,
    on_start: Callable[[str], None] | None = None,
) -> list[Check]:
    """Look at everything and change nothing; opens no connection but to the local engine.

    The trials of torch, bitsandbytes and hnswlib run in processes of their own, so that a native
    crash there is a finding here. Works on a machine on which nothing is set up.

    Args:
        on_start: Called with what is being looked at, in words.
    """
    say = on_start or _silent
    say("Trying torch and 4-bit weights")
    outcome = _outcome()
    steps: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("python", libraries.check_python),
        ("libraries", libraries.check_libraries),
        ("package index", libraries.check_pip),
        ("torch", partial(libraries.check_torch, outcome)),
        ("cuda", partial(libraries.check_cuda, outcome)),
        ("bitsandbytes", partial(libraries.check_bitsandbytes, outcome)),
        ("device", partial(libraries.check_device, outcome, settings)),
        ("hnswlib", libraries.check_hnswlib),
        ("models", partial(installed.check_models, paths, settings)),
        ("corpora", partial(installed.check_corpora, paths)),
        ("index", partial(installed.check_index, paths, settings)),
        ("engine", partial(services.check_engine, paths, settings)),
        ("history", partial(services.check_history, paths, settings)),
        ("disk", partial(machine.check_disk, paths, settings)),
        ("memory", partial(machine.check_memory, settings)),
        ("permissions", partial(machine.check_permissions, paths)),
    )
    found = []
    for name, step in steps:
        say(f"Looking at {name}")
        found.append(_guarded(name, step))
    return found


def merge(found: list[Check], deep: list[Check]) -> list[Check]:
    """Return the checks of `run` with what the deep ones add; what either finds wrong counts."""
    by_name = {check.name: check for check in deep}
    merged = [
        by_name.pop(check.name)
        if check.name in by_name and check.status is not CheckStatus.FAIL
        else check
        for check in found
    ]
    known = {check.name for check in merged}
    return [*merged, *(check for name, check in by_name.items() if name not in known)]


def _outcome() -> Outcome:
    from medqa_tui.doctor.trial import try_out

    return try_out()


def _guarded(name: str, step: Callable[[], Check]) -> Check:
    """Return what a check found, or that it could not be done: one check never stops the others."""
    try:
        return step()
    except MedQAError as error:
        return fail(name, f"{error.title} {error.detail}".strip(), error.hint)
    except Exception as error:
        detail = f"This could not be looked at: {type(error).__name__}: {error}."
        return fail(name, detail, libraries.reinstall())


def _silent(message: str) -> None:
    """Say nothing."""
