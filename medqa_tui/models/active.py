"""What answers: the profiles in active.json, replaced by one rename once all of one works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import REMOTE, Profile
from medqa_tui.models.files import write_atomic
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.shipped import CARD_NAME, adapter_problems, shipped_folder
from medqa_tui.paths import Paths, ensure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REQUIRED = ("profile", "base", "generator", "embedder", "index")
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Active:
    """The components of one installed profile, by the names of their folders.

    Attributes:
        base: The generator's public id.
        index: Name of the folder under the indexes folder.
        adapter: The user's own, one from the hub, or one that ships with the package.
        reranker: An installed cross-encoder, one trained here, or one that ships with the package.
    """

    profile: str
    base: str
    generator: str
    embedder: str
    index: str
    adapter: str | None = None
    reranker: str | None = None

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Return what is in use once `profile` is."""
        return cls(
            profile=profile.name,
            base=profile.generator.id,
            generator=profile.generator.name,
            embedder=profile.embedder.name,
            index=profile.index,
            adapter=profile.adapter,
            reranker=profile.reranker.name if profile.reranker else profile.shipped_reranker,
        )

    @property
    def is_remote(self) -> bool:
        """Whether a server writes the answers, so that there is no generator here."""
        return self.generator == REMOTE

    def generator_dir(self, paths: Paths) -> Path:
        """Return the folder of the generator's weights and tokenizer."""
        return paths.models / self.generator

    def embedder_dir(self, paths: Paths) -> Path:
        """Return the sentence-transformers folder of the embedder."""
        return paths.models / self.embedder

    def adapter_dir(self, paths: Paths) -> Path | None:
        """Return the folder of the adapter in use, the user's own or a shipped one, if any."""
        if self.adapter is None:
            return None
        own = paths.adapters / self.adapter
        return own if own.is_dir() else shipped_folder(self.adapter) or own

    def reranker_dir(self, paths: Paths) -> Path | None:
        """Return the folder of the cross-encoder in use: installed, trained here, or shipped."""
        if self.reranker is None:
            return None
        places = (paths.models / self.reranker, paths.adapters / self.reranker)
        own = next((folder for folder in places if folder.is_dir()), None)
        return own or shipped_folder(self.reranker) or places[0]

    def index_dir(self, paths: Paths) -> Path:
        """Return the folder of the index in use."""
        return paths.indexes / self.index

    def model_dirs(self, paths: Paths) -> tuple[Path, ...]:
        """Return the folders that have an install record."""
        dirs = [] if self.is_remote else [self.generator_dir(paths)]
        dirs.append(self.embedder_dir(paths))
        reranker = self.reranker_dir(paths)
        if reranker is not None and reranker.parent == paths.models:
            dirs.append(reranker)
        return tuple(dirs)

    def problems(self, paths: Paths, deep: bool = False) -> list[str]:
        """Return which installed files are missing or changed; `deep` re-hashes all of them."""
        found = self.model_problems(paths, deep=deep)
        if not (self.index_dir(paths) / "manifest.json").is_file():
            found.append(f"{self.index_dir(paths)} holds no index.")
        return found

    def model_problems(self, paths: Paths, *, deep: bool = False) -> list[str]:
        """Return what is wrong with the models, the adapter and the re-ranker."""
        found = []
        for folder in self.model_dirs(paths):
            record = InstallRecord.read(folder)
            if record is None:
                found.append(f"{folder} is missing or has no install record.")
            else:
                found += record.problems(folder, deep=deep)
        found += self.problems_of_adapter(paths, deep=deep)
        return found + self.problems_of_reranker(paths, deep=deep)

    def problems_of_adapter(self, paths: Paths, *, deep: bool = False) -> list[str]:
        """Return why the adapter in use, if there is one, cannot be used."""
        adapter = self.adapter_dir(paths)
        if adapter is None:
            return []
        made_from = InstallRecord.read(self.generator_dir(paths))
        revision = made_from.revision if made_from else None
        if (adapter / CARD_NAME).is_file():
            return adapter_problems(adapter, self.base, revision=revision, deep=deep)
        record = InstallRecord.read(adapter)
        if record is None:
            return [f"The adapter {self.adapter} is missing or has no install record."]
        if deep:
            from medqa_tui.models.adapter_check import check

            base_folder = self.generator_dir(paths)
            unfit = check(adapter, self.base, base_folder=base_folder, revision=revision)
            return [*record.problems(adapter, deep=True), *unfit]
        return record.problems(adapter)

    def problems_of_reranker(self, paths: Paths, *, deep: bool = False) -> list[str]:
        """Return why a re-ranker that is an adapter does not fit the embedder it lies over."""
        folder, made_from = self.reranker_dir(paths), InstallRecord.read(self.embedder_dir(paths))
        if folder is None or folder.parent == paths.models or made_from is None:
            return []
        return adapter_problems(folder, made_from.id, revision=made_from.revision, deep=deep)

    def write(self, paths: Paths, *, current: bool = False) -> None:
        """Record this among the installed profiles, in one atomic step.

        Args:
            current: Make it the one in use; the first to be recorded is that anyway.
        """
        with _changing(paths):
            known = _read(paths, forgiving=True) or Installed(self.profile, ())
            others = tuple(each for each in known.profiles if each.profile != self.profile)
            now = self.profile if current else known.current
            _write(paths, Installed(now, (*others, self)))


@dataclass(frozen=True, slots=True)
class Installed:
    """Every profile that was set up, and which of them is in use."""

    current: str
    profiles: tuple[Active, ...]

    def get(self, profile: str) -> Active | None:
        """Return what the profile is made of, or None if it was not set up."""
        return next((each for each in self.profiles if each.profile == profile), None)


def load_active(paths: Paths, profile: str | None = None) -> Active | None:
    """Return what `profile` is made of, or the one in use; None if it was never set up.

    Raises:
        MedQAError: The file is there but cannot be read or understood.
    """
    installed = load_installed(paths)
    if installed is None:
        return None
    return installed.get(profile or installed.current)


def absence(installed: Installed | None, profile: str) -> str:
    """Return in words that `profile` is not among what is installed."""
    if installed is None:
        return f"Nothing is installed for the profile {profile}."
    return f"The profile {installed.current} is installed; {profile} is asked for."


def load_installed(paths: Paths) -> Installed | None:
    """Return every profile that was set up, or None if nothing ever was.

    Raises:
        MedQAError: The file is there but cannot be read or understood.
    """
    return _read(paths)


def set_current(paths: Paths, profile: str) -> None:
    """Make an installed profile the one in use; nothing happens if it was never set up."""
    with _changing(paths):
        known = _read(paths)
        if known is not None and known.get(profile) is not None and known.current != profile:
            _write(paths, Installed(profile, known.profiles))


def forget(paths: Paths, profile: str) -> None:
    """Take a profile off the list; if it was in use, another one is from now on."""
    with _changing(paths):
        known = _read(paths)
        if known is None or known.get(profile) is None:
            return
        left = tuple(each for each in known.profiles if each.profile != profile)
        if not left:
            paths.active_file.unlink()
            return
        now = known.current if known.current != profile else left[-1].profile
        _write(paths, Installed(now, left))


@contextmanager
def _changing(paths: Paths) -> Iterator[None]:
    """Let one process at a time read, change and write the file."""
    from filelock import FileLock

    with FileLock(ensure(paths.data) / "active.lock", mode=0o600):
        yield


def _write(paths: Paths, installed: Installed) -> None:
    rows = {each.profile: asdict(each) for each in installed.profiles}
    row = {"schema_version": _VERSION, "current": installed.current, "profiles": rows}
    write_atomic(paths.active_file, json.dumps(row, indent=1).encode() + b"\n")


def _read(paths: Paths, *, forgiving: bool = False) -> Installed | None:
    try:
        return _parsed(paths, json.loads(paths.active_file.read_bytes()))
    except FileNotFoundError:
        return None
    except MedQAError:
        # A file that nobody can read is replaced by the next setup.
        if forgiving:
            return None
        raise
    except (OSError, ValueError) as error:
        if forgiving and isinstance(error, ValueError):
            return None
        raise _unreadable(paths, str(error)) from error


def _parsed(paths: Paths, data: Any) -> Installed:
    if not isinstance(data, dict):
        raise _unreadable(paths, "it is not an object")
    version = data.get("schema_version")
    if version == 1:
        only = _active(paths, data)
        return Installed(only.profile, (only,))
    if version != _VERSION:
        raise _unreadable(paths, "another version of medqa-tui wrote it")
    rows, current = data.get("profiles"), data.get("current")
    if not isinstance(rows, dict) or current not in rows:
        raise _unreadable(paths, f"current is {current!r}")
    found = [replace(_active(paths, row), profile=name) for name, row in rows.items()]
    return Installed(str(current), tuple(found))


def _active(paths: Paths, data: Any) -> Active:
    if not isinstance(data, dict):
        raise _unreadable(paths, "a profile is not an object")
    known = {field.name for field in fields(Active)}
    values = {key: value for key, value in data.items() if key in known}
    for key in (*_REQUIRED, "adapter", "reranker"):
        value = values.get(key)
        if value is None and key not in _REQUIRED:
            continue
        # "base" is a public id with a slash; the others become parts of a path.
        plain = isinstance(value, str) and (key == "base" or _NAME.fullmatch(value))
        if not plain:
            raise _unreadable(paths, f"{key} is {value!r}")
    return Active(**values)


def _unreadable(paths: Paths, reason: str) -> MedQAError:
    return MedQAError(
        "The record of what is installed cannot be read.",
        f"{paths.active_file}: {reason}.",
        "medqa-tui setup (it writes a new one)",
    )
