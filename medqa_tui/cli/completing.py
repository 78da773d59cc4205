"""Names for shell completion: quick, silent, and empty where nothing can be read."""

from __future__ import annotations

from medqa_tui.errors import MedQAError


def adapters(incomplete: str) -> list[str]:
    """Return the adapters on this machine whose names begin so, and `none`."""
    from medqa_tui.models.shipped import shipped_names
    from medqa_tui.paths import get_paths

    names = {*shipped_names(), "none", *_folders(get_paths().adapters)}
    return sorted(name for name in names if name.startswith(incomplete))


def profiles(incomplete: str) -> list[str]:
    """Return the profiles whose names begin so."""
    from medqa_tui.models.catalog import profiles as known

    try:
        return sorted(each.name for each in known() if each.name.startswith(incomplete))
    except MedQAError:
        return []


def _folders(folder: object) -> list[str]:
    from pathlib import Path

    try:
        return [at.name for at in Path(str(folder)).iterdir() if not at.name.startswith(".")]
    except OSError:
        return []
