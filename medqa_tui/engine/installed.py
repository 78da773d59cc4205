"""Whether there is anything to answer with; known before anything heavy is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.errors import NotSetUpError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


def require_active(paths: Paths, settings: Settings) -> Active:
    """Return what is installed and in use for the profile of `settings`; loads nothing heavy.

    Raises:
        NotSetUpError: Nothing is installed, or another profile is.
    """
    from medqa_tui.models.active import load_active

    active = load_active(paths)
    if active is None:
        raise NotSetUpError("The models are not installed yet.", "", "medqa-tui setup")
    if active.profile != settings.profile:
        raise NotSetUpError(
            "This profile is not set up.",
            f"{settings.profile} was asked for, {active.profile} is in use.",
            f"medqa-tui setup --profile {settings.profile}",
        )
    return active
