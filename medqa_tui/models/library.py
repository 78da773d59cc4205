"""The profiles and models on this machine: what each takes, what is shared, and letting them go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medqa_tui.errors import MedQAError, NotSetUpError, UsageError
from medqa_tui.models.active import Active, forget, load_installed
from medqa_tui.models.base_names import same_base
from medqa_tui.models.catalog import Component, Profile, Slot, get_profile, profiles
from medqa_tui.models.install import discard
from medqa_tui.models.records import TRAINED, InstallRecord, installed_record
from medqa_tui.paths import Paths


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a profile is made of.

    Attributes:
        size: Bytes on disk; what it would take, about, if it is not installed.
        record: None if it is not installed, or not wholly.
        used_by: Installed profiles that answer with it.
    """

    slot: Slot
    name: str
    id: str
    licence: str
    folder: Path
    size: int
    record: InstallRecord | None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileState:
    """A profile, and how much of it is on this machine.

    Attributes:
        active: What it answers with, None if it is not set up.
        parts: What it is made of; shipped parts are not among them.
        index_size: Bytes of its index.
    """

    profile: Profile
    active: Active | None
    parts: tuple[Part, ...]
    index_size: int
    in_use: bool

    @property
    def installed_size(self) -> int:
        """Bytes that are on disk now, shared ones counted here as well."""
        return self.index_size + sum(part.size for part in self.parts if part.record is not None)

    @property
    def own_size(self) -> int:
        """Bytes that would come free without it."""
        alone = (part for part in self.parts if part.record is not None)
        others = {self.profile.name}
        return self.index_size + sum(p.size for p in alone if set(p.used_by) <= others)

    @property
    def download_size(self) -> int:
        """Bytes that would have to be fetched, about."""
        missing = {part.name for part in self.parts if part.record is None}
        return sum(c.source.size for c in self.profile.components if c.name in missing)


def states(paths: Paths, chosen: str) -> list[ProfileState]:
    """Return every profile of the catalogue.

    Args:
        chosen: The configured profile, which answers when none is named.
    """
    return [state(paths, profile.name, chosen) for profile in profiles()]


def state(paths: Paths, name: str, chosen: str) -> ProfileState:
    """Return one profile.

    Raises:
        UsageError: There is no such profile.
    """
    installed = _installed(paths)
    active = next((each for each in installed if each.profile == name), None)
    profile = get_profile(name, _base(name, active))
    return ProfileState(
        profile=profile,
        active=active,
        parts=tuple(_part(paths, component, installed) for component in profile.components),
        index_size=folder_size(paths.indexes / profile.index),
        in_use=active is not None and name == chosen,
    )


def require_installed(paths: Paths, name: str) -> Active:
    """Return what the profile `name` answers with.

    Raises:
        UsageError: There is no such profile.
        NotSetUpError: It is not set up.
    """
    get_profile(name)
    for active in _installed(paths):
        if active.profile == name:
            return active
    raise NotSetUpError(
        "This profile is not set up yet.", f"{name}.", f"medqa-tui setup --profile {name}"
    )


def is_trained(paths: Paths, name: str) -> bool:
    """Return whether `name` is a model all of whose weights were trained on this machine."""
    folder = paths.models / name
    if folder.parent != paths.models or name in {profile.name for profile in profiles()}:
        return False
    record = InstallRecord.read(folder)
    return record is not None and record.source == TRAINED


def use_trained(paths: Paths, name: str, profile: str | None = None) -> Active:
    """Have the profile whose model it was made of answer with a model that was trained here.

    Args:
        profile: None is the first one that fits.

    Raises:
        NotSetUpError: No installed profile answers with a model like it.
        MedQAError: It is damaged.
    """
    folder = paths.models / name
    record = InstallRecord.read(folder)
    problems = record.problems(folder) if record else ["its record is missing"]
    if record is None or problems:
        raise MedQAError(
            "This model is damaged.", f"{name}: {'; '.join(problems)}.", "Train it again."
        )
    for active in _installed(paths):
        if profile in {None, active.profile} and same_base(record.id, active.base):
            answering = replace(active, generator=name, adapter=None)
            answering.write(paths)
            return answering
    raise NotSetUpError(
        "No profile here answers with such a model.",
        f"{name} was made of {record.id}.",
        "medqa-tui model list",
    )


def removable(paths: Paths, name: str, chosen: str, *, force: bool = False) -> ProfileState:
    """Return a profile that may be removed.

    Args:
        chosen: The configured profile.
        force: Even if `name` is the one in use.

    Raises:
        UsageError: There is no such profile, nothing of it is installed, or it is in use.
    """
    now = state(paths, name, chosen)
    if now.in_use and not force:
        others = [each.profile for each in _installed(paths) if each.profile != name]
        instead = f"medqa-tui model use {others[0]}, or " if others else ""
        raise UsageError(
            "This profile is in use.",
            f"{name}.",
            f"{instead}medqa-tui model remove --force {name}",
        )
    if now.active is None and not any(part.record for part in now.parts) and not now.index_size:
        raise UsageError(
            "Nothing of this profile is installed.", f"{name}.", "medqa-tui model list"
        )
    return now


def remove(paths: Paths, name: str, chosen: str, *, force: bool = False) -> int:
    """Delete a profile's models and index, and return the bytes that came free.

    What another installed profile needs stays. Killed at any point, nothing that is listed as
    installed is half gone.

    Raises:
        UsageError: It is not `removable`.
    """
    now = removable(paths, name, chosen, force=force)
    forget(paths, name)
    needed = set(_folders(paths, _installed(paths)))
    mine = {part.folder for part in now.parts} | {paths.indexes / now.profile.index}
    if now.active is not None:
        mine |= set(_folders(paths, [now.active]))
    # Adapters were added on their own and go on their own, and what ships is part of the program.
    homes = {paths.models, paths.indexes}
    gone = [folder for folder in mine - needed if folder.parent in homes]
    return sum(_delete(folder) for folder in sorted(gone))


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below `folder`; 0 if it is not there."""
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _installed(paths: Paths) -> tuple[Active, ...]:
    try:
        known = load_installed(paths)
    except MedQAError:
        return ()
    return known.profiles if known else ()


def _base(name: str, active: Active | None) -> str:
    """Return the base model that the profile was set up with, if the catalogue still has it."""
    profile = get_profile(name)
    return active.base if active and active.base in profile.bases else ""


def _folders(paths: Paths, installed: Iterable[Active]) -> Iterator[Path]:
    """Yield the folders that these profiles answer with."""
    for active in installed:
        yield from active.model_dirs(paths)
        yield active.index_dir(paths)
        adapter = active.adapter_dir(paths)
        if adapter is not None:
            yield adapter


def _part(paths: Paths, component: Component, installed: Iterable[Active]) -> Part:
    home = component.home(paths)
    folder = home / component.name
    record = installed_record(home, component)
    users = (each.profile for each in installed if folder in set(_folders(paths, [each])))
    return Part(
        slot=component.slot,
        name=component.name,
        id=component.id,
        licence=component.licence,
        folder=folder,
        size=folder_size(folder) if record else component.installed_size,
        record=record,
        used_by=tuple(users),
    )


def _delete(folder: Path) -> int:
    """Delete a folder, if it is there, and return its bytes."""
    size = folder_size(folder)
    if not folder.exists():
        return 0
    discard(folder)
    return size
