"""Whether there is anything to answer with; known before anything heavy is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.errors import NotSetUpError, UsageError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths


def is_quoting(settings: Settings, active: Active) -> bool:
    """Return whether answers from evidence are quoted: by choice, or as the profile does best."""
    from medqa_tui.models.catalog import get_profile

    chosen = settings.answer.generator
    if chosen != "auto":
        return chosen == "extractive"
    try:
        profile = get_profile(active.profile, active.base)
    except UsageError:
        # A profile of another version of this program, or a base of the user's own.
        return False
    return profile.quotes and active.adapter == profile.adapter


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
