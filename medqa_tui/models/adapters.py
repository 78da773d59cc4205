"""The adapters on this machine, shipped and added, and which of them is in use."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from medqa_tui.errors import MedQAError, NotSetUpError, UsageError
from medqa_tui.models.active import Active, load_active, load_installed
from medqa_tui.models.adapter_check import check
from medqa_tui.models.adapter_config import CONFIG_NAME, AdapterConfig
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.compared import require_no_regression
from medqa_tui.models.files import check_cancel
from medqa_tui.models.install import discard
from medqa_tui.models.model_card import ModelCard
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.shipped import (
    CARD_NAME,
    AdapterCard,
    adapter_problems,
    is_reranker,
    shipped_folder,
    shipped_names,
    shipped_rerankers,
)
from medqa_tui.paths import Paths, ensure

__all__ = [
    "NONE",
    "InstalledAdapter",
    "Kind",
    "answers_with",
    "check",
    "get",
    "in_use",
    "installed",
    "load_all",
    "lock",
    "lock_file",
    "remove",
    "require_name",
    "unfit",
    "use",
]

NONE = "none"
"""The word that stands for answering without an adapter; no adapter can be called so."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK = ".lock"
_POLL_SECONDS = 0.1


class Kind(StrEnum):
    """Who made an adapter, as far as this program can tell.

    SHIPPED came with the program, OWN has a card of this program's own training, COMMUNITY is
    anything else: nobody here measured it.
    """

    SHIPPED = "shipped"
    OWN = "own"
    COMMUNITY = "community"


@dataclass(frozen=True, slots=True)
class InstalledAdapter:
    """An adapter on this machine.

    Attributes:
        base: Public id of the model it was made for.
        id: Its id on the hub, empty if it did not come from there.
        revision: The commit of the hub it was taken from, or what its card says.
        licence: As its card names it, empty if it names none.
        rank: Rank of its LoRA matrices.
        size: Bytes on disk.
        card: What its maker reports; empty for ours.
        problem: Why it cannot be read, empty if it can.
        reranks: Whether it makes a re-ranker of an embedding model.
    """

    name: str
    kind: Kind
    folder: Path
    base: str = ""
    id: str = ""
    revision: str = ""
    licence: str = ""
    rank: int = 0
    size: int = 0
    card: ModelCard = field(default_factory=ModelCard)
    problem: str = ""
    reranks: bool = False


def installed(paths: Paths) -> list[InstalledAdapter]:
    """Return the shipped adapters, then those added on this machine, by name."""
    added = []
    if paths.adapters.is_dir():
        added = sorted(
            folder for folder in paths.adapters.iterdir() if _NAME.fullmatch(folder.name)
        )
    own = {folder.name for folder in added}
    names = (*shipped_names(), *shipped_rerankers())
    shipped = [name for name in names if name not in own]
    folders = [(name, shipped_folder(name)) for name in shipped]
    return [
        *(_look(name, folder, Kind.SHIPPED) for name, folder in folders if folder is not None),
        *(_look(folder.name, folder) for folder in added if folder.is_dir()),
    ]


def get(paths: Paths, name: str) -> InstalledAdapter:
    """Return the adapter called `name`, or downloaded from the hub id `name`.

    Raises:
        UsageError: There is none; the hint names the nearest one.
    """
    known = installed(paths)
    for adapter in known:
        if name == adapter.name or (adapter.id and name == adapter.id):
            return adapter
    from difflib import get_close_matches

    near = get_close_matches(name, [adapter.name for adapter in known], n=1)
    hint = f"Did you mean {near[0]}?" if near else "medqa-tui adapter list"
    raise UsageError("There is no such adapter on this machine:", f"{name}.", hint)


def in_use(paths: Paths, name: str) -> list[str]:
    """Return the names of the installed profiles that answer with the adapter `name`."""
    return [each.profile for each in load_all(paths) if name in {each.adapter, each.reranker}]


def answers_with(paths: Paths, profile: str) -> str | None:
    """Return the adapter that the installed `profile` answers with, if there is one."""
    return next((each.adapter for each in load_all(paths) if each.profile == profile), None)


def use(paths: Paths, profile: str | None, name: str | None, *, force: bool = False) -> Active:
    """Let `profile` answer with the adapter `name`, or with none, in one atomic step.

    Args:
        profile: An installed profile; None is the one in use.
        force: Even if it was measured to be worse in safety or abstention than what is in use.

    Raises:
        NotSetUpError: That profile is not installed.
        UsageError: There is no such adapter, or it does not fit the profile's model.
        MedQAError: It was measured to be worse, and `force` is not given.
    """
    adapter = None if name is None else get(paths, name)
    active = _active(paths, profile)
    if adapter is None:
        changed = replace(active, adapter=None)
    else:
        problems = unfit(paths, adapter, active)
        if problems:
            raise UsageError(
                f"The adapter {adapter.name} cannot be used with the profile {active.profile}.",
                problems[0],
                _other_profile(paths, adapter, active) or "medqa-tui adapter list",
            )
        if not (force or adapter.reranks or adapter.name == active.adapter):
            require_no_regression(paths, adapter, active)
        slot = "reranker" if adapter.reranks else "adapter"
        changed = replace(active, **{slot: adapter.name})
    if changed != active:
        changed.write(paths)
    return changed


def remove(paths: Paths, name: str, *, force: bool = False) -> int:
    """Delete an added adapter and return the bytes that came free.

    Args:
        force: Profiles that use it answer without an adapter from now on.

    Raises:
        UsageError: It ships with the program, or is in use and `force` is not given.
    """
    adapter = get(paths, name)
    if adapter.kind is Kind.SHIPPED:
        raise UsageError(
            "This adapter is part of the program and cannot be removed.",
            f"{adapter.name}.",
            "medqa-tui adapter use none (answers without it)",
        )
    users = in_use(paths, adapter.name)
    if users and not force:
        raise UsageError(
            "This adapter is in use.",
            f"{adapter.name}, by the profile {', '.join(users)}.",
            f"medqa-tui adapter use none, or medqa-tui adapter remove --force {adapter.name}",
        )
    for active in load_all(paths):
        # First nobody uses it, then it goes: killed in between, nothing is broken.
        if active.adapter == adapter.name:
            replace(active, adapter=None).write(paths)
        if active.reranker == adapter.name:
            replace(active, reranker=_own_reranker(active)).write(paths)
    discard(adapter.folder)
    return adapter.size


def require_name(name: str) -> str:
    """Return `name` if an added adapter may be called so.

    Raises:
        UsageError: It cannot be a folder's name, or is taken by the program.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            "An adapter cannot be called so:",
            f"{name!r}.",
            "Use letters, digits, dots, dashes and underscores: --name my-adapter",
        )
    if name == NONE or shipped_folder(name) is not None:
        raise UsageError("This name is taken:", f"{name}.", "Choose another: --name my-adapter")
    return name


def lock_file(paths: Paths) -> Path:
    """Return the file that is locked while an adapter is added or removed."""
    return paths.adapters / _LOCK


@contextmanager
def lock(paths: Paths, cancel: threading.Event | None = None) -> Iterator[None]:
    """Hold the adapters' lock: one process adds or removes at a time."""
    from filelock import FileLock, Timeout

    ensure(paths.adapters)
    held = FileLock(lock_file(paths), mode=0o600)
    while True:
        check_cancel(cancel)
        try:
            held.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        held.release()


def load_all(paths: Paths) -> tuple[Active, ...]:
    """Return every installed profile's components; empty if nothing can be read."""
    try:
        installed = load_installed(paths)
    except MedQAError:
        return ()
    return installed.profiles if installed else ()


def _active(paths: Paths, profile: str | None) -> Active:
    active = load_active(paths, profile)
    if active is None:
        raise NotSetUpError(
            "This profile is not set up yet.",
            f"{profile}." if profile else "",
            f"medqa-tui setup --profile {profile}" if profile else "medqa-tui setup",
        )
    return active


def unfit(paths: Paths, adapter: InstalledAdapter, active: Active) -> list[str]:
    """Return why the adapter cannot be used in the profile, against the files on this machine."""
    if adapter.reranks:
        made_from = InstallRecord.read(active.embedder_dir(paths))
        if made_from is None:
            return ["The embedding model is not installed."]
        pinned = made_from.revision
        return adapter_problems(adapter.folder, made_from.id, revision=pinned, deep=True)
    folder = active.generator_dir(paths)
    made_from = InstallRecord.read(folder)
    revision = made_from.revision if made_from else None
    return check(adapter.folder, active.base, base_folder=folder, revision=revision)


def _own_reranker(active: Active) -> str | None:
    """Return the re-ranker that the catalogue gives the profile."""
    try:
        return Active.of_profile(get_profile(active.profile)).reranker
    except UsageError:
        return None


def _other_profile(paths: Paths, adapter: InstalledAdapter, active: Active) -> str:
    for other in load_all(paths):
        if other.base == adapter.base and other.profile != active.profile:
            return f"medqa-tui --profile {other.profile} adapter use {adapter.name}"
    return ""


def _look(name: str, folder: Path, kind: Kind | None = None) -> InstalledAdapter:
    record = InstallRecord.read(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        ours = AdapterCard.read(folder) if (folder / CARD_NAME).is_file() else None
        config = AdapterConfig.read(folder)
    except MedQAError as error:
        problem = f"{error.title} {error.detail}".strip()
        return InstalledAdapter(name, kind or Kind.COMMUNITY, folder, size=size, problem=problem)
    from_hub = record is not None and bool(record.id)
    card = ModelCard() if ours and not from_hub else ModelCard.read(folder)
    return InstalledAdapter(
        name=name,
        kind=kind or (Kind.OWN if ours and not from_hub else Kind.COMMUNITY),
        folder=folder,
        base=ours.base if ours else config.base,
        id=record.id if record else "",
        revision=record.revision if record else ours.base_revision if ours else "",
        licence=ours.licence if ours else card.licence,
        rank=config.rank,
        size=size,
        card=card,
        reranks=is_reranker(folder),
        problem="" if (folder / CONFIG_NAME).is_file() else f"{folder / CONFIG_NAME} is missing.",
    )
