"""What is installed in a folder, written inside it, so that one rename installs both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from medqa_tui.models.catalog import Component, HubSource, WheelSource
from medqa_tui.models.files import sha256_file, write_atomic

RECORD_NAME = "install.json"
TRAINED = "trained on this machine"
"""The source of a model all of whose weights were trained here."""


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One installed file: its path inside the folder, size in bytes and hash."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class InstallRecord:
    """An installed component.

    Attributes:
        name: Name of its folder.
        id: The model's public id.
        revision: The pinned source it was made from.
        source: Where its bytes came from, with the hash of what was downloaded.
        installed: ISO time (UTC) at which it was installed.
    """

    name: str
    slot: str
    id: str
    revision: str
    licence: str
    quantization: str | None
    source: str
    files: tuple[InstalledFile, ...]
    installed: str
    schema_version: int = 1

    @classmethod
    def of_folder(
        cls, folder: Path, component: Component, commit: str = "", *, quantized: bool = True
    ) -> Self:
        """Return the record of `component` as it lies in `folder`, hashing every file.

        Args:
            commit: What the model hub's revision was resolved to, where it comes from there.
            quantized: Whether its weights are as the component says, and not as they came.
        """
        return cls(
            name=component.name,
            slot=component.slot.value,
            id=component.id,
            revision=commit or component.revision,
            licence=component.licence,
            quantization=component.quantization if quantized else None,
            source=_source(component, commit),
            files=files_of(folder),
            installed=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the record in `folder`, or None if there is none that can be read."""
        try:
            row: dict[str, Any] = json.loads((folder / RECORD_NAME).read_bytes())
            files = tuple(InstalledFile(**file) for file in row.pop("files"))
            return cls(files=files, **row)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the record into `folder`, atomically."""
        write_atomic(folder / RECORD_NAME, json.dumps(asdict(self), indent=1).encode() + b"\n")

    @property
    def size(self) -> int:
        """Bytes of all installed files."""
        return sum(file.size for file in self.files)

    def problems(self, folder: Path, deep: bool = False) -> list[str]:
        """Return what is wrong with the files in `folder`, in words; `deep` re-hashes them."""
        found = []
        for file in self.files:
            path = folder / file.path
            if not path.is_file():
                found.append(f"{path} is missing.")
            elif path.stat().st_size != file.size:
                found.append(f"{path} has {path.stat().st_size} bytes instead of {file.size}.")
            elif deep and sha256_file(path) != file.sha256:
                found.append(f"{path} is not what was installed: its SHA-256 differs.")
        return found


def files_of(folder: Path) -> tuple[InstalledFile, ...]:
    """Return every file below `folder` but the record itself, each hashed."""
    return tuple(
        InstalledFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD_NAME
    )


def installed_record(models: Path, component: Component) -> InstallRecord | None:
    """Return the record of `component` if it is wholly installed at its pinned revision.

    Cheap: sizes are compared, nothing is hashed.

    Args:
        models: The folder that its folder lies in, `component.home(paths)`.
    """
    folder = models / component.name
    record = InstallRecord.read(folder)
    if record is None or not record.files or not _is_revision(record, component):
        return None
    return None if record.problems(folder) else record


def _is_revision(record: InstallRecord, component: Component) -> bool:
    source = component.source
    if isinstance(source, HubSource) and not source.is_pinned:
        # A branch was resolved when it was installed, and stays what it was then.
        return record.id == component.id
    return record.revision == component.revision


def _source(component: Component, commit: str) -> str:
    match component.source:
        case HubSource() as hub:
            return f"model hub: {hub.repo}@{commit or hub.revision}"
        case WheelSource() as index:
            return f"package index: {index.requirement}, wheel sha256 {index.sha256}"
        case _:
            return "a server"
