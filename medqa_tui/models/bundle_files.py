"""What a bundle is on disk, read as untrusted: paths that stay inside, no links, no pickles."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.models.active import Active
from medqa_tui.models.catalog import Profile, get_profile
from medqa_tui.models.files import CHUNK, Progress
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.snapshot import RUN_CODE

MANIFEST = "bundle.json"
_KIND = "medqa-tui bundle"
_SCHEMA = 1
ROOTS = ("models", "adapters")
_MAX_MANIFEST = 10_000_000
_MAX_PATH = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle: its path from the bundle's folder on, with slashes."""

    path: str
    size: int
    sha256: str

    @property
    def component(self) -> tuple[str, str]:
        """The folder it belongs to: `models` or `adapters`, and the name there."""
        root, name, *_ = PurePosixPath(self.path).parts
        return root, name

    @property
    def inner(self) -> str:
        """Its path inside that folder."""
        return "/".join(PurePosixPath(self.path).parts[2:])


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds.

    Attributes:
        active: What the profile answered with where the bundle was made.
        version: The program that made it.
    """

    folder: Path
    profile: str
    active: Active
    version: str
    created: str
    files: tuple[BundleFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def components(self) -> tuple[tuple[str, str], ...]:
        """The folders in it: `models` or `adapters`, and the name there."""
        return tuple(dict.fromkeys(file.component for file in self.files))

    def record(self, component: tuple[str, str]) -> InstallRecord | None:
        """Return the install record of one of `components`."""
        return InstallRecord.read(self.folder.joinpath(*component))

    def to_json(self) -> str:
        row = {
            "schema_version": _SCHEMA,
            "kind": _KIND,
            "profile": self.profile,
            "version": self.version,
            "created": self.created,
            "active": asdict(self.active),
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(row, indent=1) + "\n"

    @classmethod
    def of_row(cls, folder: Path, row: dict[str, Any]) -> Self:
        """Return the bundle that bundle.json describes.

        Raises:
            MedQAError: A path in it would lead out of the bundle, or could run code.
            KeyError, TypeError, ValueError: It is no such description.
        """
        if row["kind"] != _KIND:
            raise ValueError("another kind of file")
        files = tuple(BundleFile(**file) for file in row["files"])
        for file in files:
            _require_safe(folder, file)
        if len({file.path.casefold() for file in files}) != len(files):
            raise ValueError("a path is in it twice")
        active = _active_of(row["active"])
        return cls(
            folder=folder,
            profile=str(row["profile"]),
            active=active,
            version=str(row["version"]),
            created=str(row["created"]),
            files=files,
        )


def read_bundle(folder: Path) -> Bundle:
    """Return what the bundle in `folder` holds; every file is there, with its size.

    Raises:
        UsageError: It is no bundle, or not a whole one.
        MedQAError: A path in it is not safe, or a file is missing, changed or a link.
    """
    folder = folder.expanduser().absolute()
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_MANIFEST:
            raise ValueError("too long")
        row = json.loads(path.read_bytes())
        version = row["schema_version"]
        if version != _SCHEMA:
            raise _another_version(folder, str(row.get("version", "?")))
        bundle = Bundle.of_row(folder, row)
    except FileNotFoundError as error:
        raise UsageError(
            "This folder is no bundle, or its export was not finished.",
            f"{path} is missing.",
            "On the machine with the models: medqa-tui model export FOLDER",
        ) from error
    except OSError as error:
        raise MedQAError("The bundle cannot be read.", f"{path}: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MedQAError(
            "The bundle's list of files cannot be understood.",
            f"{path}: {error}"[:300],
            "Make it anew: medqa-tui model export FOLDER",
        ) from error
    for file in bundle.files:
        with open_file(bundle, file):
            pass
    return bundle


@contextmanager
def open_file(bundle: Bundle, file: BundleFile) -> Iterator[BinaryIO]:
    """Open a file of the bundle, never through a link.

    Raises:
        MedQAError: It is missing, a link, or has another size.
    """
    path = bundle.folder
    for part in PurePosixPath(file.path).parts:
        path /= part
        try:
            status = path.lstat()
        except OSError as error:
            raise changed(file, "it is missing") from error
        if stat.S_ISLNK(status.st_mode):
            raise changed(file, f"{path} is a link")
    if not stat.S_ISREG(status.st_mode):
        raise changed(file, "it is no file")
    if status.st_size != file.size:
        raise changed(file, f"it has {status.st_size} bytes instead of {file.size}")
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise changed(file, error.strerror or str(error)) from error
    with os.fdopen(handle, "rb") as opened:
        yield opened


def copy_checked(opened: BinaryIO, file: BundleFile, target: Path, tell: Progress) -> None:
    """Write a file of a bundle to `target`, hashing what is written.

    Raises:
        MedQAError: Its hash is not the one in the list.
    """
    digest, done = hashlib.sha256(), 0
    with target.open("xb") as out:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
            done += len(chunk)
            tell(done, file.size)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != file.sha256:
        raise changed(file, "its SHA-256 is another than the one listed")


def _require_safe(folder: Path, file: BundleFile) -> None:
    path = PurePosixPath(file.path)
    parts = path.parts
    strange = any(c in file.path for c in '\\:*?"<>|') or not file.path.isprintable()
    inside = not path.is_absolute() and len(parts) > 2 and parts[0] in ROOTS
    plain = not strange and inside and all(part not in {"..", "."} for part in parts)
    named = plain and _NAME.fullmatch(parts[1]) and len(file.path) <= _MAX_PATH
    if not named or file.path != path.as_posix():
        raise MedQAError(
            "The bundle would write outside its own folders, so it is refused.",
            f"{folder / MANIFEST}: {file.path[:200]!r}.",
            "Take bundles only from people you trust.",
        )
    if path.suffix.lower() in RUN_CODE:
        raise MedQAError(
            "The bundle holds a file that could run a program, so it is refused.",
            f"{file.path}.",
            "Models are installed from safetensors only.",
        )
    if type(file.size) is not int or file.size < 0 or not _DIGEST.fullmatch(file.sha256):
        raise ValueError(f"the row of {file.path[:80]!r}")


def _active_of(row: dict[str, Any]) -> Active:
    """Return what the bundle's profile answered with; its names become folders here."""
    active = Active(**row)
    names = (active.profile, active.generator, active.embedder, active.index)
    chosen = (name for name in (active.adapter, active.reranker) if name is not None)
    if not all(_NAME.fullmatch(name) for name in (*names, *chosen)):
        raise ValueError("a name in it cannot be a folder's name")
    return active


def changed(file: BundleFile, reason: str) -> MedQAError:
    """Return the error of a file that is not what was exported."""
    return MedQAError(
        "A file of the bundle is not what was exported.",
        f"{file.path}: {reason}.",
        "Copy the bundle again, or make it anew: medqa-tui model export FOLDER",
    )


def _another_version(folder: Path, version: str) -> MedQAError:
    return MedQAError(
        "Another version of medqa-tui made this bundle.",
        f"{folder}: version {version[:40]}.",
        "Use the same version on both machines.",
    )


def read_profile(folder: Path) -> str:
    """Return the profile that bundle.json in `folder` names, or nothing if it is unreadable."""
    try:
        return str(json.loads((folder / MANIFEST).read_bytes())["profile"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def profile_of(active: Active) -> Profile:
    """Return the catalogue's profile, with the base that it was set up with.

    Raises:
        UsageError: This version has no such profile, or not that base.
    """
    return get_profile(active.profile, active.base)
