"""The machine: room on the disk and in memory, and who may read the program's files."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check, fail, ok, warn
from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths

_LITTLE = 500_000_000
_FREE_SOME = "Free some space, or set MEDQA_HOME to a folder on another disk."
# Questions, tokens and settings: nobody else's business.
_PRIVATE_FILES = ("history.db*", "*.toml", "*.log", "*token*", "*.json")


def check_disk(paths: Paths, settings: Settings) -> Check:
    """Compare the free space with what setup still needs."""
    from medqa_tui.models.catalog import get_profile
    from medqa_tui.setup import preflight
    from medqa_tui.setup.plan import make_plan

    folder = _existing(paths.data)
    free = shutil.disk_usage(folder).free
    try:
        plan = make_plan(get_profile(settings.profile), paths)
    except MedQAError:
        # The store or the profile cannot be used, which is a finding of its own.
        pass
    else:
        try:
            preflight.check_disk(plan, paths)
        except MedQAError as error:
            return fail("disk", f"{error.title} {error.detail}", _FREE_SOME)
    detail = f"{free / 1e9:.1f} GB are free where {folder} lies."
    return warn("disk", detail, _FREE_SOME) if free < _LITTLE else ok("disk", detail)


def check_memory(settings: Settings) -> Check:
    """Compare the free memory with what the profile needs while it answers."""
    import psutil

    from medqa_tui.models.catalog import get_profile

    available = psutil.virtual_memory().available / 1e6
    needed = get_profile(settings.profile).memory_mb
    detail = f"{available / 1000:.1f} GB of memory are free; answers need about {needed} MB."
    if available < needed:
        return warn("memory", detail, "Close other programs before asking.")
    return ok("memory", detail)


def check_permissions(paths: Paths) -> Check:
    """Find folders that cannot be written, and files that others may read."""
    folders = (paths.config, paths.data, paths.cache, paths.state, paths.run)
    for folder in folders:
        place = _existing(folder)
        if not place.is_dir():
            fix = f'Move it away: mv "{place}" "{place}.old"'
            return fail("permissions", f"{place} is in the way of a folder of that name.", fix)
        if not os.access(place, os.W_OK | os.X_OK):
            detail = f"{place} cannot be written."
            return fail("permissions", detail, f'chmod u+rwx "{place}"')
    if os.name != "posix":
        return ok("permissions", "The program's folders can be written.")
    foreign = [place for place in folders if place.exists() and place.stat().st_uid != os.getuid()]
    if foreign:
        detail = f"{foreign[0]} belongs to another user."
        return warn("permissions", detail, f'sudo chown -R "$(id -un)" "{foreign[0]}"')
    open_folders = [place for place in folders if place.is_dir() and _is_open(place)]
    open_files = [file for file in _private_files(paths) if _is_open(file)]
    if open_folders or open_files:
        opened = [*open_folders, *open_files]
        detail = f"Other users may look into {', '.join(map(str, opened))}."
        quoted = " ".join(f'"{place}"' for place in opened)
        return warn("permissions", detail, f"chmod go-rwx {quoted}")
    return ok("permissions", "The program's folders can be written, and only by this user.")


def _private_files(paths: Paths) -> Iterator[Path]:
    for folder in (paths.config, paths.data, paths.logs, paths.run):
        for pattern in _PRIVATE_FILES:
            yield from (file for file in folder.glob(pattern) if file.is_file())


def _is_open(place: Path) -> bool:
    return bool(stat.S_IMODE(place.stat().st_mode) & 0o077)


def _existing(folder: Path) -> Path:
    """Return `folder` or the nearest thing above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())
