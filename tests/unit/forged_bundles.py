"""Bundles made to do harm, or harmed on their way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[dict[str, Any]], None]


def change(out: Path, edit: Edit) -> None:
    """Change the list of a bundle."""
    row = json.loads((out / "bundle.json").read_bytes())
    edit(row)
    (out / "bundle.json").write_text(json.dumps(row), encoding="utf-8")


def set_key(*keys: Any, value: Any) -> Edit:
    """Return what sets the value at the end of `keys` in the list of a bundle."""

    def edit(row: dict[str, Any]) -> None:
        at: Any = row
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return edit


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_link(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    target = path.with_name("target")
    target.write_bytes(data)
    path.symlink_to(target)


def damage_folder(path: Path) -> None:
    inside = path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to(inside)


def forge(out: Path, path: Path, data: bytes) -> None:
    """Change a file and everything in the bundle that tells of it."""
    path.write_bytes(data)
    component = out.joinpath(*path.relative_to(out).parts[:2])
    record = component / "install.json"
    if record.exists():
        row = json.loads(record.read_bytes())
        for file in row["files"]:
            if component / file["path"] == path:
                file.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        record.write_text(json.dumps(row), encoding="utf-8")

    def edit(listing: dict[str, Any]) -> None:
        for file in listing["files"]:
            at = out / file["path"]
            file["size"] = at.stat().st_size
            file["sha256"] = hashlib.sha256(at.read_bytes()).hexdigest()

    change(out, edit)
