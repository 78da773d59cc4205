"""Names for shell completion: quick, silent, and empty where nothing can be read."""

from __future__ import annotations

import re
from pathlib import Path

from medqa_tui.errors import MedQAError

# A shell evaluates some of what it is given, so nothing but plain names may reach it.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def adapters(incomplete: str) -> list[str]:
    """Return the adapters on this machine whose names begin so, and `none`."""
    from medqa_tui.models.shipped import shipped_names, shipped_rerankers
    from medqa_tui.paths import get_paths

    shipped = {*shipped_names(), *shipped_rerankers()}
    return _beginning({*shipped, "none", *_folders(get_paths().adapters)}, incomplete)


def profiles(incomplete: str) -> list[str]:
    """Return the profiles whose names begin so."""
    from medqa_tui.models.catalog import profiles as known

    return _beginning({each.name for each in known()}, incomplete)


def settings(incomplete: str) -> list[str]:
    """Return the settings whose keys begin so."""
    from medqa_tui.config.load import provenance

    try:
        return _beginning({item.key for item in provenance({})}, incomplete)
    except MedQAError:
        return []


def _beginning(names: set[str], incomplete: str) -> list[str]:
    return sorted(n for n in names if n.startswith(incomplete) and _PLAIN.fullmatch(n))


def _folders(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
