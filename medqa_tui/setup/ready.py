"""Whether a profile can answer now, and the command that makes it able to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError, NotSetUpError
from medqa_tui.models.active import absence, load_installed
from medqa_tui.models.catalog import Profile, get_profile
from medqa_tui.paths import Paths
from medqa_tui.setup.plan import store_file

if TYPE_CHECKING:
    from medqa_tui.config.schema import Settings


def is_ready(paths: Paths, settings: Settings) -> bool:
    """Say whether the profile of `settings` is installed, whole and in use; hashes nothing."""
    return why_not(paths, settings.profile) is None


def require_ready(paths: Paths, settings: Settings) -> None:
    """Raise unless `is_ready`.

    Raises:
        UsageError: There is no such profile.
        NotSetUpError: It is not installed, or not whole.
    """
    get_profile(settings.profile)
    reason = why_not(paths, settings.profile)
    if reason is not None:
        hint = again_command(settings.profile)
        raise NotSetUpError("medqa-tui is not set up yet.", reason, hint)


def why_not(paths: Paths, profile: str) -> str | None:
    """Return why `profile` cannot answer now, or None if it can."""
    try:
        installed = load_installed(paths)
    except MedQAError as error:
        return f"{error.title} {error.detail}"
    active = installed.get(profile) if installed else None
    if active is None:
        return absence(installed, profile)
    if not store_file(paths).is_file():
        return f"{store_file(paths)} is missing."
    return next(iter([*active.problems(paths), *_index_problems(active.index_dir(paths))]), None)


def _index_problems(folder: Path) -> list[str]:
    """Return what is wrong with the index by name and size; its users check the hashes."""
    from medqa_tui.retrieval.manifest import IndexManifest

    try:
        manifest = IndexManifest.read(folder)
    except MedQAError as error:
        return [f"{error.title} {error.detail}"]
    sizes = {manifest.folder(folder) / file.name: file.size for file in manifest.files}
    return [
        f"{path} is missing or has another size."
        for path, size in sizes.items()
        if not path.is_file() or path.stat().st_size != size
    ]


def again_command(profile: str) -> str:
    """Return the command that sets up `profile`; without a name it sets up the configured one."""
    if profile == "starter" and _configured() == profile:
        return "medqa-tui setup"
    return f"medqa-tui setup --profile {profile}"


def _configured() -> str:
    """Return the profile that a plain `medqa-tui setup` is about, or nothing if nobody can say."""
    from medqa_tui.config import load_settings

    try:
        return load_settings().profile
    except MedQAError:
        return ""


def again_for(profile: Profile) -> str:
    """Return the command that sets up `profile` with the base model that it has."""
    again = again_command(profile.name)
    base = profile.generator.id
    return again if base == get_profile(profile.name).generator.id else f"{again} --base {base}"
