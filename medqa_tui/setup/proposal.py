"""Which profile fits this machine, and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medqa_tui.models.catalog import HubSource, Profile, get_profile, profiles
from medqa_tui.models.hub import hub_refuses
from medqa_tui.paths import Paths
from medqa_tui.setup import machine
from medqa_tui.setup.machine import Gpu

STARTER = "starter"
AUTO = "auto"
"""Given as a profile to `setup`, it stands for the one that is proposed."""

# Weights that were downloaded and the smaller ones made of them lie side by side for a while.
_ROOM = 1.5


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice of a profile rests on.

    Attributes:
        gpu: The first GPU that torch can use.
        unused_gpu: One that is there, but not for the torch that is installed.
        memory_mb: Main memory.
        free_bytes: Room on the disk of the data folder.
    """

    gpu: Gpu | None
    memory_mb: int
    free_bytes: int
    unused_gpu: Gpu | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A profile, and the reason in one sentence."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class Better:
    """A larger profile that this machine can run.

    Attributes:
        profile: Its name; empty if there is none.
        words: What is said of it, or why there is none.
    """

    profile: str
    words: str


def look_at_machine(paths: Paths) -> Machine:
    """Return what this machine has, in some tenths of a second."""
    import psutil

    gpu = machine.find_gpu()
    usable = gpu is not None and machine.torch_uses_gpus()
    return Machine(
        gpu=gpu if usable else None,
        unused_gpu=None if usable else gpu,
        memory_mb=psutil.virtual_memory().total // 1_000_000,
        free_bytes=shutil.disk_usage(_existing(paths.data)).free,
    )


def propose(found: Machine, refuses: Callable[[HubSource], str] = hub_refuses) -> Proposal:
    """Return the largest profile that this machine can run well.

    A profile with a community adapter is never proposed: nobody here has measured it.

    Args:
        refuses: Asks the model hub, and says why it does not answer; only asked where it matters.
    """
    if found.gpu is None:
        if found.unused_gpu is not None:
            why = f"{found.unused_gpu} is there, but the installed torch is its CPU build"
        else:
            why = "No GPU was found, and larger models are slow on a CPU"
        return Proposal(STARTER, f"{why}.")
    small = None
    for profile in sorted(_for_gpus(), key=lambda profile: -profile.vram_mb):
        if profile.vram_mb > found.gpu.memory_mb:
            continue
        if _room(profile) > found.free_bytes:
            small = small or profile
            continue
        reason = refuses(_source(profile))
        if reason:
            said = f"{found.gpu} would run {profile.name}, but the model hub does not answer"
            return Proposal(STARTER, f"{said} ({reason}).")
        tight = f"; {small.name} needs {_room(small) / 1e9:.0f} GB of disk" if small else ""
        return Proposal(profile.name, f"{found.gpu} holds its 4-bit weights{tight}.")
    if small is not None:
        need, free = _room(small) / 1e9, found.free_bytes / 1e9
        said = f"{small.name} needs {need:.0f} GB of disk, {free:.0f} GB are free"
        return Proposal(STARTER, f"{said}.")
    return Proposal(STARTER, f"{found.gpu} is too small for the larger models.")


def find_proposal(paths: Paths) -> Proposal:
    """Look at this machine and return what fits it."""
    return propose(look_at_machine(paths))


def find_better(profile: str, paths: Paths) -> Better:
    """Look at this machine for a larger profile than the one in use."""
    found = find_proposal(paths)
    if found.profile in {STARTER, profile}:
        return Better("", found.reason)
    size = sum(component.source.size for component in get_profile(found.profile).components)
    said = f"This machine can run {found.profile} ({size / 1e9:.0f} GB): {found.reason}"
    return Better(found.profile, said)


def is_community(profile: Profile) -> bool:
    """Say whether the profile answers with an adapter that nobody here has measured."""
    return profile.adapter_component is not None


def _for_gpus() -> list[Profile]:
    chosen = [profile for profile in profiles() if profile.vram_mb and not profile.closed_book]
    return [profile for profile in chosen if not is_community(profile)]


def _room(profile: Profile) -> float:
    return _ROOM * sum(component.source.size for component in profile.components)


def _source(profile: Profile) -> HubSource:
    source = profile.generator.source
    assert isinstance(source, HubSource)
    return source


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
