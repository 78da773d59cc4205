"""Whether there is anything to answer with; known before anything heavy is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.errors import NotSetUpError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


def require_active(paths: Paths, settings: Settings) -> Active:
    """Return what is installed for the profile of `settings`; loads nothing heavy.

    Raises:
        NotSetUpError: Nothing is installed, or only other profiles are.
    """
    from medqa_tui.models.active import load_active, load_installed

    active = load_active(paths, settings.profile)
    if active is not None:
        return active
    installed = load_installed(paths)
    if installed is None:
        raise NotSetUpError("The models are not installed yet.", "", "medqa-tui setup")
    raise NotSetUpError(
        "This profile is not set up.",
        f"{settings.profile} was asked for, {installed.current} is in use.",
        f"medqa-tui setup --profile {settings.profile}",
    )
