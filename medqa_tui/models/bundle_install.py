"""Installing what a bundle holds: every file hashed as it is copied, every folder whole or not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.models.adapter_check import check
from medqa_tui.models.adapter_config import AdapterConfig
from medqa_tui.models.bundle_files import (
    Bundle,
    BundleFile,
    changed,
    copy_checked,
    open_file,
    profile_of,
)
from medqa_tui.models.catalog import Component, Conversion, Profile, Slot, WheelSource
from medqa_tui.models.files import Progress, check_cancel, in_words, sha256_file, sync_tree
from medqa_tui.models.install import incoming_folder, place
from medqa_tui.models.records import RECORD_NAME, InstallRecord, installed_record
from medqa_tui.models.shipped import CARD_NAME, adapter_problems, is_reranker
from medqa_tui.paths import Paths, ensure


def install_bundle(
    bundle: Bundle,
    paths: Paths,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Install what `bundle` holds, folder by folder; the caller holds the setup lock.

    What is installed already, to the byte, is left alone. Nothing becomes active by this.

    Args:
        on_progress: Called with bytes done and bytes in all.

    Raises:
        UsageError: The bundle is for a profile that this version does not know, or something of
            the user's has the same name.
        MedQAError: A file is missing or changed, or the disk is full.
        Cancelled: `cancel` was set; whole folders stay, and the next run goes on.
    """
    profile = _require_complete(bundle)
    total, done = bundle.size, 0
    pinned = {component.name: component for component in profile.components}
    with in_words(paths.data, f"medqa-tui setup --from {bundle.folder}"):
        for key in bundle.components:
            base, files = done, [file for file in bundle.files if file.component == key]

            def tell(part: int, base: int = base) -> None:
                check_cancel(cancel)
                if on_progress is not None:
                    on_progress(base + part, total)

            _install(bundle, paths, files, pinned.get(key[1]), tell)
            done += sum(file.size for file in files)
            tell(done - base)


def _require_complete(bundle: Bundle) -> Profile:
    """Return the profile that the bundle is for, all of whose parts are in it.

    Raises:
        UsageError: This version has no such profile.
        MedQAError: A part is missing, or is of another revision than this version's.
    """
    profile = profile_of(bundle.active)
    for component in profile.components:
        root = "adapters" if component.slot is Slot.ADAPTER else "models"
        listed = (root, component.name) in bundle.components
        if not listed or installed_record(bundle.folder / root, component) is None:
            raise MedQAError(
                "The bundle does not hold what this version of medqa-tui installs.",
                f"{component.title} is missing or of another revision; "
                f"version {bundle.version[:40]} made the bundle.",
                "Use the same version on both machines, and export again.",
            )
    return profile


def _install(
    bundle: Bundle,
    paths: Paths,
    files: list[BundleFile],
    component: Component | None,
    tell: Callable[[int], None],
) -> None:
    """Stage one folder of the bundle, check it and rename it to its place."""
    root, name = files[0].component
    home = ensure(paths.adapters if root == "adapters" else paths.models)
    final = home / name
    record, theirs = InstallRecord.read(final), bundle.record((root, name))
    if record is not None and record == theirs and not record.problems(final):
        return
    if record is theirs is None and _is_same(final, files):
        return
    if component is None and final.exists() and (record is None or record != theirs):
        raise _in_the_way(bundle, final)
    incoming = incoming_folder(home, name)
    try:
        _unpack(bundle, files, incoming, tell)
        _require_recorded(incoming, files, component)
        if root == "adapters":
            _require_fit(incoming, bundle)
        sync_tree(incoming)
        place(incoming, final)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _in_the_way(bundle: Bundle, final: Path) -> UsageError:
    """Return that what the user added or trained under that name is not replaced."""
    kind, first = "model", f"Move {final} elsewhere"
    if final.parent.name == "adapters":
        kind, first = "adapter", f"medqa-tui adapter remove {final.name}"
    return UsageError(
        f"There is another {kind} of that name already:",
        f"{final.name}.",
        f"{first}, then: medqa-tui setup --from {bundle.folder}",
    )


def _unpack(
    bundle: Bundle, files: list[BundleFile], incoming: Path, tell: Callable[[int], None]
) -> None:
    done = 0
    for file in files:
        target = incoming.joinpath(*PurePosixPath(file.inner).parts)
        target.parent.mkdir(parents=True, exist_ok=True)

        def tell_part(part: int, total: int, base: int = done) -> None:
            tell(base + part)

        with open_file(bundle, file) as opened:
            copy_checked(opened, file, target, tell_part)
        done += file.size


def _require_recorded(incoming: Path, files: list[BundleFile], component: Component | None) -> None:
    """Refuse a folder whose record tells of other files, or files that are not the pinned ones."""
    record = InstallRecord.read(incoming)
    trained = files[0].component[0] == "adapters" and (incoming / CARD_NAME).is_file()
    if record is None and trained:
        return
    listed = {file.inner: file.sha256 for file in files if file.inner != RECORD_NAME}
    if record is None or {file.path: file.sha256 for file in record.files} != listed:
        raise changed(files[0], "its install record tells of other files")
    if component is None or component.conversion is not Conversion.NONE:
        return
    if isinstance(component.source, WheelSource):
        for member in component.source.members:
            if listed.get(member.path) != member.sha256:
                raise changed(files[0], f"{member.path} is not the pinned one")


def _require_fit(incoming: Path, bundle: Bundle) -> None:
    """Refuse an adapter that the profile in the bundle could not use."""
    if is_reranker(incoming):
        embedder = bundle.record(("models", bundle.active.embedder))
        base, revision = (embedder.id, embedder.revision) if embedder else ("", None)
        problems = adapter_problems(incoming, base, revision=revision, deep=True)
    else:
        problems = check(incoming, bundle.active.base)
    if not problems and not AdapterConfig.read(incoming).targets:
        problems = ["Its modules are named by a pattern."]
    if problems:
        raise MedQAError("The adapter in the bundle cannot be used.", problems[0])


def _is_same(final: Path, files: list[BundleFile]) -> bool:
    """Say whether the folder holds exactly these files."""
    paths = {file.inner: final / file.inner for file in files}
    if not all(path.is_file() for path in paths.values()):
        return False
    return all(sha256_file(paths[file.inner]) == file.sha256 for file in files)
