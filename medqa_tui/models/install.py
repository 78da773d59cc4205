"""Putting a finished folder in its place, in one step, with its record inside."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from medqa_tui.models.catalog import Component
from medqa_tui.models.files import sync_folder, sync_tree
from medqa_tui.models.records import InstallRecord

_INCOMING = ".incoming-"
_OLD = ".old-"
LEFTOVERS = (_INCOMING, _OLD)
"""How the names of folders begin that a killed installation may have left."""


def incoming_folder(home: Path, name: str) -> Path:
    """Return a new folder in `home`, beside the final one, for `name` to be made in."""
    return Path(tempfile.mkdtemp(prefix=f"{_INCOMING}{name}-", dir=home))


def install(
    incoming: Path,
    models: Path,
    component: Component,
    commit: str = "",
    *,
    quantized: bool = True,
) -> InstallRecord:
    """Record what `incoming` holds, flush it to disk and rename it to the component's folder.

    Killed at any point, the component is installed whole or not at all.

    Args:
        commit: What the model hub's revision was resolved to, where it comes from there.
        quantized: Whether its weights are stored as the component says, and not as they came.
    """
    record = InstallRecord.of_folder(incoming, component, commit, quantized=quantized)
    record.write(incoming)
    sync_tree(incoming)
    place(incoming, models / component.name)
    return record


def place(incoming: Path, final: Path) -> None:
    """Rename the finished folder `incoming` to `final`, in whose place an older one may be.

    Killed at any point, `final` is the old folder, the new one or none, but never half of one.
    """
    if final.exists():
        # Only a damaged folder or another revision is ever in the way.
        old = _put_aside(final)
        incoming.replace(final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        incoming.replace(final)
    sync_folder(final.parent)


def discard(folder: Path) -> None:
    """Delete an installed folder; killed at any point, it is whole or not installed."""
    old = _put_aside(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(home: Path) -> None:
    """Delete what killed installations left in `home`; only for who holds its lock."""
    if home.is_dir():
        for path in home.iterdir():
            if path.name.startswith(LEFTOVERS):
                shutil.rmtree(path, ignore_errors=True)


def _put_aside(folder: Path) -> Path:
    """Move a folder out of its place; return the folder that it is in now."""
    old = Path(tempfile.mkdtemp(prefix=_OLD, dir=folder.parent))
    folder.replace(old / folder.name)
    return old
