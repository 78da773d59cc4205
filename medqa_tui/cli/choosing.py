"""Choosing an adapter, in the file that says what is in use and in the engine that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.cli import adapter_display as display
from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


def use(paths: Paths, profile: str | None, name: str | None, *, force: bool = False) -> Active:
    """Choose an adapter, or none, let a running engine follow, and say if it was ever compared.

    Args:
        profile: An installed profile; None is the one in use.
        force: Even one that was found to be worse.

    Raises:
        NotSetUpError: That profile is not installed.
        MedQAError: The adapter does not fit, was found to be worse, or the engine refuses it; the
            old choice stays.
    """
    from medqa_tui.engine.client import use_adapter
    from medqa_tui.models import adapters
    from medqa_tui.models.active import load_active

    before = load_active(paths, profile)
    active = adapters.use(paths, profile, name, force=force)
    try:
        use_adapter(paths, active.adapter)
    except MedQAError:
        if before is not None:
            before.write(paths)
        raise
    if name is not None:
        display.say_compared(paths, adapters.get(paths, name), before)
    return active
