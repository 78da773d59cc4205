"""What answers now: the names in active.json, replaced by one rename once all of it works."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import Profile
from medqa_tui.models.files import write_atomic
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.shipped import adapter_problems, shipped_folder
from medqa_tui.paths import Paths, ensure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REQUIRED = ("profile", "base", "generator", "embedder", "index")


@dataclass(frozen=True, slots=True)
class Active:
    """The components in use, by the names of their folders.

    Attributes:
        base: The generator's public id.
        index: Name of the folder under the indexes folder.
    """

    profile: str
    base: str
    generator: str
    embedder: str
    index: str
    adapter: str | None = None
    reranker: str | None = None
    schema_version: int = 1

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
            reranker=profile.reranker.name if profile.reranker else None,
        )

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
        """Return the folder of the cross-encoder in use, if there is one."""
        return paths.models / self.reranker if self.reranker else None

    def index_dir(self, paths: Paths) -> Path:
        """Return the folder of the index in use."""
        return paths.indexes / self.index

    def model_dirs(self, paths: Paths) -> tuple[Path, ...]:
        """Return the folders that have an install record."""
        dirs = (
            self.generator_dir(paths),
            self.embedder_dir(paths),
            self.reranker_dir(paths),
        )
        return tuple(folder for folder in dirs if folder is not None)

    def problems(self, paths: Paths, deep: bool = False) -> list[str]:
        """Return which installed files are missing or changed; `deep` re-hashes all of them."""
        found = []
        for folder in self.model_dirs(paths):
            record = InstallRecord.read(folder)
            if record is None:
                found.append(f"{folder} is missing or has no install record.")
            else:
                found += record.problems(folder, deep=deep)
        adapter = self.adapter_dir(paths)
        if adapter is not None:
            made_from = InstallRecord.read(self.generator_dir(paths))
            revision = made_from.revision if made_from else None
            found += adapter_problems(adapter, self.base, revision=revision, deep=deep)
        if not (self.index_dir(paths) / "manifest.json").is_file():
            found.append(f"{self.index_dir(paths)} holds no index.")
        return found

    def write(self, paths: Paths) -> None:
        """Make this what is in use, in one atomic step."""
        ensure(paths.data)
        write_atomic(paths.active_file, json.dumps(asdict(self), indent=1).encode() + b"\n")


def load_active(paths: Paths) -> Active | None:
    """Return what is in use, or None if nothing ever was.

    Raises:
        MedQAError: The file is there but cannot be read or understood.
    """
    try:
        data = json.loads(paths.active_file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(paths, str(error)) from error
    if not isinstance(data, dict):
        raise _unreadable(paths, "it is not an object")
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
    if values.get("schema_version") != 1:
        raise _unreadable(paths, "another version of medqa-tui wrote it")
    return Active(**values)


def _unreadable(paths: Paths, reason: str) -> MedQAError:
    return MedQAError(
        "The record of what is installed cannot be read.",
        f"{paths.active_file}: {reason}.",
        "medqa-tui setup (it writes a new one)",
    )
