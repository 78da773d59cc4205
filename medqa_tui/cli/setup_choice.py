"""Which profile `medqa-tui setup` is about: the one that was named, or the one that fits."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medqa_tui.cli import asking, diagnostics, terminal
from medqa_tui.cli.options import Options
from medqa_tui.errors import MedQAError
from medqa_tui.setup.events import SetupOptions

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths
    from medqa_tui.setup.proposal import Proposal


@dataclass(frozen=True, slots=True)
class Choice:
    """What setup is to do, and whether its profile is to answer from now on."""

    options: SetupOptions
    keep: bool


def choose(wanted: SetupOptions, flags: Options, settings: Settings, paths: Paths) -> Choice:
    """Return the profile that is meant, looking at the machine where nothing says it.

    A profile that was named is kept as the default. Without one, a machine on which nothing was
    ever chosen is looked at, and what fits it is proposed; nothing large is fetched unasked.
    """
    from medqa_tui.setup.proposal import AUTO, find_proposal

    if wanted.source is not None:
        return Choice(wanted, keep=True)
    if flags.profile == AUTO:
        found = find_proposal(paths)
        diagnostics.note(f"{found.profile}: {found.reason}")
        return Choice(replace(wanted, profile=found.profile), keep=True)
    if flags.profile is not None:
        return Choice(wanted, keep=True)
    if wanted.base:
        return Choice(replace(wanted, profile=_with_base(wanted)), keep=True)
    if flags.offline or settings.offline or not _is_new(settings, paths):
        return Choice(wanted, keep=False)
    found = find_proposal(paths)
    diagnostics.detail(f"{found.profile}: {found.reason}")
    if found.profile == settings.profile:
        return Choice(wanted, keep=False)
    if _accepted(found, wanted):
        return Choice(replace(wanted, profile=found.profile), keep=True)
    return Choice(wanted, keep=False)


def _with_base(wanted: SetupOptions) -> str:
    """Return the profile that offers the base, the one in force if none or several do."""
    from medqa_tui.models.catalog import profiles

    offering = [profile.name for profile in profiles() if wanted.base in profile.bases]
    return offering[0] if wanted.profile not in offering and offering else wanted.profile


def _is_new(settings: Settings, paths: Paths) -> bool:
    """Say whether neither a setting nor an earlier setup has chosen a profile."""
    from medqa_tui.config.load import provenance
    from medqa_tui.models.active import load_installed

    try:
        if load_installed(paths) is not None:
            return False
    except MedQAError:
        return False
    origins = {row.key: str(row.origin) for row in provenance({})}
    return origins["profile"] == "default"


def _accepted(found: Proposal, wanted: SetupOptions) -> bool:
    """Ask on a terminal; elsewhere only say that there is something better."""
    from medqa_tui.models.catalog import get_profile

    profile = get_profile(found.profile)
    size = sum(component.source.size for component in profile.components) / 1e9
    diagnostics.note(f"This machine can run {profile.name}: {profile.title}. {found.reason}")
    if wanted.yes or wanted.dry_run or not terminal.is_terminal(sys.stdin):
        diagnostics.note(f"To have it: medqa-tui setup --profile {profile.name} ({size:.0f} GB)")
        return False
    question = f"Set up {profile.name} ({size:.0f} GB)? n sets up {wanted.profile}."
    return asking.agrees(question, by_default=True)


def confirm_remote(wanted: SetupOptions, settings: Settings) -> Settings | None:
    """Ask once whether questions may leave this machine, and keep the answer; None means no.

    Raises:
        UsageError: No server is named, or everything is to stay offline.
    """
    from urllib.parse import urlsplit

    from medqa_tui.config import load_settings, write
    from medqa_tui.generation.remote import require_remote

    address = require_remote(settings, confirmed=False)
    if settings.remote.confirmed == address:
        return settings
    diagnostics.always(
        f"With the profile remote, every question you ask and the passages found for it are sent "
        f"to {urlsplit(address).netloc} ({address})."
    )
    if not wanted.yes:
        if not terminal.is_terminal(sys.stdin):
            diagnostics.always("To agree: medqa-tui setup --profile remote --yes")
            return None
        if not asking.agrees("May questions leave this machine?", by_default=False):
            return None
    write.set_value("remote.confirmed", address)
    return load_settings({"profile": settings.profile, "remote.confirmed": address})
