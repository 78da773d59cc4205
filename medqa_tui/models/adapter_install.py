"""Adding an adapter from a folder or from the hub: staged beside, checked, then renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.errors import DownloadError, MedQAError, UsageError
from medqa_tui.models import adapters, catalog
from medqa_tui.models.adapter_catalog import public_adapters
from medqa_tui.models.adapter_check import adapted_modules, check
from medqa_tui.models.adapter_config import CONFIG_NAME, AdapterConfig
from medqa_tui.models.adapters import InstalledAdapter
from medqa_tui.models.base_names import find_base, is_hub_id
from medqa_tui.models.files import (
    CHUNK,
    Progress,
    check_cancel,
    in_words,
    sync_tree,
    write_atomic,
)
from medqa_tui.models.install import incoming_folder, place, remove_leftovers
from medqa_tui.models.model_card import ModelCard
from medqa_tui.models.records import InstallRecord, files_of
from medqa_tui.models.shipped import CARD_NAME, WEIGHTS_NAME, AdapterCard
from medqa_tui.models.tensors import read_tensors
from medqa_tui.paths import Paths, ensure

if TYPE_CHECKING:
    from medqa_tui.models.snapshot import Snapshot

_TOKENIZER = "tokenizer.json"
_SMALL = 2_000_000
_TEXTS = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.txt")
_HEAD = (CONFIG_NAME, "README.md", CARD_NAME)
_PICKLE = "adapter_model.bin"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an adapter comes from, for its record and for words.

    Attributes:
        said: What the user called it, in hints.
        id: Hub id, empty for a folder.
    """

    said: str
    source: str
    id: str = ""
    revision: str = ""

    def error(self, title: str, detail: str, hint: str = "") -> MedQAError:
        kind = DownloadError if self.id else MedQAError
        return kind(title, detail, hint or "medqa-tui adapter search (shows known adapters)")


@dataclass(frozen=True, slots=True)
class _Job:
    """One adapter to be added.

    Attributes:
        base: Public id of its base model, where the user names it.
    """

    paths: Paths
    name: str
    base: str | None
    on_progress: Progress | None
    cancel: threading.Event | None


@dataclass(frozen=True, slots=True)
class _Remote:
    """An adapter on the hub.

    Attributes:
        staging: Where it is fetched to.
        again: The command that goes on after a failure.
    """

    id: str
    subfolder: str
    staging: Path
    again: str
    cancel: threading.Event | None

    def fetch(
        self, into: Path, revision: str, names: Iterable[str], on_progress: Progress | None = None
    ) -> Snapshot:
        """Fetch those of the named files that there are."""
        from medqa_tui.models.hub import Transfer, download_snapshot

        def tell(transfer: Transfer) -> None:
            if on_progress is not None:
                on_progress(transfer.done, transfer.total)

        allow = tuple(f"{self.subfolder}/{name}" if self.subfolder else name for name in names)
        source = catalog.HubSource(repo=self.id, revision=revision, allow=allow)
        return download_snapshot(source, into, tell, self.cancel, again=self.again)


def is_folder(text: str) -> bool:
    """Say whether `text` means a folder on this machine and not an id on the hub."""
    return text.startswith((".", "/", "~")) or "\\" in text or Path(text).expanduser().is_dir()


def add_folder(
    paths: Paths,
    source: Path,
    *,
    name: str | None = None,
    base: str | None = None,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> InstalledAdapter:
    """Copy the adapter in the folder `source` to this machine's adapters.

    Args:
        name: What it is called here; the folder's name if None.
        base: Public id of its base model, where its files do not say it.
        on_progress: Called with bytes done and bytes in all.

    Raises:
        UsageError: There is no such folder, or the name is taken.
        MedQAError: It is no adapter, is damaged, or does not fit its base model.
        Cancelled: `cancel` was set.
    """
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise UsageError("There is no such folder:", f"{source}.", "medqa-tui adapter search")
    chosen = adapters.require_name(name or _fit_name(source.name))
    job = _Job(paths, chosen, base, on_progress, cancel)
    with adapters.lock(paths, cancel):
        remove_leftovers(paths.adapters)
        return _add(job, source, _Origin(str(source), f"folder: {source}"))


def download(
    paths: Paths,
    id: str,
    *,
    revision: str = "main",
    subfolder: str = "",
    name: str | None = None,
    base: str | None = None,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
    again: str = "",
) -> InstalledAdapter:
    """Bring the adapter `id` from the model hub; what is there already at that commit is kept.

    Its configuration is fetched and looked at first, so that a wrong one costs nothing.

    Args:
        revision: A branch, tag or commit of the hub.
        subfolder: Folder of the repository that holds the adapter.
        again: The command that goes on after a failure, if it is another than `adapter download`.

    Raises:
        UsageError: `id` cannot be a hub id, or the name is taken.
        DownloadError: It could not be fetched, or is not what it says it is.
        Cancelled: `cancel` was set.
    """
    if not is_hub_id(id):
        raise UsageError(
            "This is no folder and no id on the model hub:",
            f"{id!r}.",
            "medqa-tui adapter download OWNER/NAME, or the path of a folder",
        )
    chosen = adapters.require_name(name or _fit_name(id.split("/")[1]))
    _refuse_other(paths, chosen, id)
    job = _Job(paths, chosen, base, None, cancel)
    again = again or f"medqa-tui adapter download {id}"
    remote = _Remote(id, subfolder, paths.cache / "adapters" / chosen, again, cancel)
    with adapters.lock(paths, cancel):
        remove_leftovers(paths.adapters)
        brought = _bring(job, remote, revision, on_progress)
        shutil.rmtree(remote.staging, ignore_errors=True)
        return brought


def known_bases(paths: Paths) -> list[str]:
    """Return the ids of the models that profiles and known adapters name, installed ones first."""
    names = [active.base for active in adapters.load_all(paths)]
    for profile in catalog.profiles():
        names += [profile.generator.id, *profile.bases]
    names += [adapter.base for adapter in public_adapters()]
    return list(dict.fromkeys(names))


# -- the steps ---------------------------------------------------------------------------------


def _bring(
    job: _Job, remote: _Remote, revision: str, on_progress: Progress | None
) -> InstalledAdapter:
    """Fetch and add an adapter, unless it is there at that commit; the caller holds the lock."""
    from medqa_tui.models.hub import remove_download

    head = ensure(remote.staging) / "head"
    # A branch may have moved on since it was looked at last.
    remove_download(head)
    commit = remote.fetch(head, revision, _HEAD).revision
    origin = _Origin(remote.id, f"hub: {remote.id}@{commit}", remote.id, commit)
    kept = _kept(job.paths, job.name, origin)
    if kept is not None:
        return kept
    _refuse_kind(head / remote.subfolder, origin)
    whole = remote.staging / commit
    names = dict.fromkeys((*_HEAD, WEIGHTS_NAME, _TOKENIZER, *_TEXTS))
    remote.fetch(whole, commit, names, on_progress)
    try:
        return _add(job, whole / remote.subfolder, origin)
    except DownloadError:
        # What is refused now would be refused again.
        shutil.rmtree(remote.staging, ignore_errors=True)
        raise


def _add(job: _Job, source: Path, origin: _Origin) -> InstalledAdapter:
    """Stage, check and place the adapter in `source`; the caller holds the lock."""
    paths, name = job.paths, job.name
    _refuse_other(paths, name, origin.id)
    incoming = incoming_folder(paths.adapters, name)
    try:
        with in_words(paths.adapters, f"medqa-tui adapter download {origin.said}"):
            _copy_files(source, incoming, origin, job)
            chosen = _bind(paths, incoming, job.base, origin)
            problems = _problems(paths, incoming, chosen)
            if problems:
                raise origin.error("This adapter cannot be used.", f"{origin.said}: {problems[0]}")
            (incoming / _TOKENIZER).unlink(missing_ok=True)
            _record(incoming, name, origin).write(incoming)
            sync_tree(incoming)
            place(incoming, paths.adapters / name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return adapters.get(paths, name)


def _copy_files(source: Path, incoming: Path, origin: _Origin, job: _Job) -> None:
    """Copy the few files that are an adapter; nothing else in `source` is looked at."""
    if not (source / WEIGHTS_NAME).is_file():
        reason = f"{source / WEIGHTS_NAME} is missing"
        if (source / _PICKLE).exists():
            reason = f"{_PICKLE} is a pickle, which could run a program; safetensors are needed"
        raise origin.error("This is no adapter in PEFT format.", f"{origin.said}: {reason}.")
    names = [WEIGHTS_NAME, CONFIG_NAME, CARD_NAME, _TOKENIZER, *_TEXTS]
    there = [source / name for name in names if os.path.lexists(source / name)]
    total, done = sum(path.lstat().st_size for path in there), 0
    for path in there:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise origin.error(
                "A file of this adapter is a link or no file at all.",
                f"{path}.",
                "Copy the folder with its files first, or give the adapter's hub id.",
            )
        if path.name in _TEXTS and path.lstat().st_size > _SMALL:
            continue
        with path.open("rb") as file, (incoming / path.name).open("xb") as out:
            while chunk := file.read(CHUNK):
                check_cancel(job.cancel)
                out.write(chunk)
                done += len(chunk)
                if job.on_progress is not None:
                    job.on_progress(done, total)


def _bind(paths: Paths, incoming: Path, base: str | None, origin: _Origin) -> str:
    """Find out what the base model is, write its id into the configuration, and return it."""
    config = AdapterConfig.read(incoming)
    chosen = _find_base(paths, incoming, config, base, origin)
    modules = adapted_modules(read_tensors(incoming / WEIGHTS_NAME))
    cleaned = config.cleaned(chosen, modules)
    write_atomic(incoming / CONFIG_NAME, json.dumps(cleaned, indent=1).encode() + b"\n")
    return chosen


def _find_base(
    paths: Paths, folder: Path, config: AdapterConfig, base: str | None, origin: _Origin
) -> str:
    known = known_bases(paths)
    reported = ModelCard.read(folder).bases
    if (folder / CARD_NAME).is_file():
        reported = (AdapterCard.read(folder).base,)
    written = [config.base, *reported] if config.base else list(reported)
    found = next((match for each in written if (match := find_base(each, known))), None)
    if base is not None:
        wanted = find_base(base, known) or base
        if found is not None and found != wanted:
            detail = f"{origin.said}: it was made for {found}, not for {wanted}."
            raise origin.error("This adapter is for another model.", detail)
        if not is_hub_id(wanted):
            raise UsageError("This is no model's id:", f"{base!r}.", "--base OWNER/NAME")
        return wanted
    if found is not None:
        return found
    unknown = next((each for each in written if is_hub_id(each)), None)
    if unknown is not None:
        return unknown
    said = config.base or "nothing"
    raise origin.error(
        "This adapter does not say which model it was made for.",
        f"{origin.said}: its configuration names {said[:200]}.",
        f"If you know it: medqa-tui adapter download {origin.said} --base OWNER/NAME",
    )


def _problems(paths: Paths, folder: Path, base: str) -> list[str]:
    """Return what is wrong with the staged adapter, against its base if that is installed."""
    for active in adapters.load_all(paths):
        if active.base == base:
            made_from = InstallRecord.read(active.generator_dir(paths))
            return check(
                folder,
                base,
                base_folder=active.generator_dir(paths),
                revision=made_from.revision if made_from else None,
            )
    return check(folder, base)


def _refuse_kind(head: Path, origin: _Origin) -> None:
    """Refuse before the weights are fetched what no weights could make usable.

    Raises:
        DownloadError: It is no LoRA adapter.
    """
    if not (head / CONFIG_NAME).is_file():
        raise origin.error(
            "This is no adapter in PEFT format.", f"{origin.said}: it has no {CONFIG_NAME}."
        )
    problems = AdapterConfig.read(head).problems()
    if problems:
        raise origin.error("This adapter cannot be used.", f"{origin.said}: {problems[0]}")


def _record(folder: Path, name: str, origin: _Origin) -> InstallRecord:
    card = AdapterCard.read(folder) if (folder / CARD_NAME).is_file() else None
    return InstallRecord(
        name=name,
        slot="adapter",
        id=origin.id,
        revision=origin.revision,
        licence=card.licence if card else ModelCard.read(folder).licence,
        quantization=None,
        source=origin.source,
        files=files_of(folder),
        installed=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _kept(paths: Paths, name: str, origin: _Origin) -> InstalledAdapter | None:
    """Return what is installed under `name` if it is whole and of that very commit."""
    folder = paths.adapters / name
    record = InstallRecord.read(folder)
    if record is None or (record.id, record.revision) != (origin.id, origin.revision):
        return None
    return None if record.problems(folder) else adapters.get(paths, name)


def _refuse_other(paths: Paths, name: str, id: str) -> None:
    """Refuse to put one adapter in the place of another.

    Raises:
        UsageError: `name` is taken by an adapter that came from elsewhere.
    """
    folder = paths.adapters / name
    record = InstallRecord.read(folder)
    if not folder.exists() or (id and record is not None and record.id == id):
        return
    whose = record.id or record.source if record else "another adapter"
    raise UsageError(
        "There is an adapter of that name already:",
        f"{name} ({whose}).",
        f"Give it another name: --name {name[:90]}-2, or medqa-tui adapter remove {name}",
    )


def _fit_name(text: str) -> str:
    return _UNFIT.sub("-", text).strip("-._")[:100] or "adapter"
