"""A profile's models in a folder, for machines without a network: made on one, installed on others.

A bundle holds the installed folders of the models, with their records, the adapter in use if it was
added, and bundle.json: every file with its size and SHA-256, written last. The corpora and the
index are not in it; setup builds them anew, from the program itself.
"""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from medqa_tui.errors import MedQAError, NotSetUpError, UsageError
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.bundle_files import (
    MANIFEST,
    ROOTS,
    Bundle,
    BundleFile,
    copy_checked,
    profile_of,
    read_bundle,
    read_profile,
)
from medqa_tui.models.bundle_install import install_bundle
from medqa_tui.models.catalog import Component
from medqa_tui.models.files import (
    Cancelled,
    Progress,
    in_words,
    sha256_file,
    sync_folder,
    write_atomic,
)
from medqa_tui.models.records import RECORD_NAME, InstallRecord, installed_record
from medqa_tui.paths import Paths

__all__ = ["Bundle", "export_bundle", "install_bundle", "read_bundle"]

_PARTIAL = ".partial"
_MARGIN = 20_000_000


def export_bundle(
    paths: Paths,
    profile: str | None,
    folder: Path,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Bundle:
    """Copy what `profile` needs into `folder`; a killed run goes on where it stopped.

    Args:
        profile: An installed profile; None is the one in use.
        folder: A new or empty folder, or the bundle of an earlier run.
        on_progress: Called with bytes done and bytes in all.

    Raises:
        NotSetUpError: The profile is not installed.
        UsageError: Something else is in the folder.
        MedQAError: An installed file was changed, or the folder cannot be written.
        Cancelled: `cancel` was set.
    """
    active = load_active(paths, profile)
    if active is None:
        again = f"medqa-tui setup --profile {profile}" if profile else "medqa-tui setup"
        raise NotSetUpError("This profile is not set up yet.", f"{profile or ''}", again)
    folder = folder.expanduser().absolute()
    _require_own(paths, folder, active.profile)
    wanted = list(_wanted(paths, active))
    total, done = sum(file.size for file, _ in wanted), 0
    with in_words(folder, f"medqa-tui model export {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        _require_room(folder, wanted)
        for file, source in wanted:
            base = done

            def tell(part: int, base: int = base) -> None:
                _check_cancel(cancel)
                if on_progress is not None:
                    on_progress(base + part, total)

            _bring(file, source, folder.joinpath(*PurePosixPath(file.path).parts), tell)
            done += file.size
        bundle = _described(folder, active, wanted)
        write_atomic(folder / MANIFEST, bundle.to_json().encode(), mode=0o644)
    return bundle


def _wanted(paths: Paths, active: Active) -> Iterator[tuple[BundleFile, Path]]:
    """Yield every file of the profile: what it is called in the bundle, and where it lies."""
    for root, folder in _folders(paths, active):
        record = InstallRecord.read(folder)
        if record is None and root == "adapters":
            # Trained on this machine: its card is all it has.
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    yield _entry(f"{root}/{folder.name}/{path.name}", path), path
            continue
        if record is None:
            raise _damaged(active, f"{folder} has no install record.")
        problems = record.problems(folder)
        if problems:
            raise _damaged(active, problems[0])
        for listed in record.files:
            name = f"{root}/{folder.name}/{listed.path}"
            yield BundleFile(name, listed.size, listed.sha256), folder / listed.path
        own = folder / RECORD_NAME
        yield _entry(f"{root}/{folder.name}/{RECORD_NAME}", own), own


def _entry(name: str, path: Path) -> BundleFile:
    return BundleFile(name, path.stat().st_size, sha256_file(path))


def _folders(paths: Paths, active: Active) -> Iterator[tuple[str, Path]]:
    """Yield the installed folders of the profile; what ships with the program is not among them."""
    found = [("models", folder) for folder in active.model_dirs(paths)]
    for folder in (active.adapter_dir(paths), active.reranker_dir(paths)):
        if folder is not None and folder.parent == paths.adapters:
            found.append(("adapters", folder))
    for component in _components(active):
        home = component.home(paths)
        # The profile's own adapter belongs to it even while another one is in use.
        if installed_record(home, component) is not None:
            found.append((home.name, home / component.name))
    yield from dict.fromkeys(found)


def _components(active: Active) -> tuple[Component, ...]:
    try:
        return profile_of(active).components
    except UsageError:
        # Installed by a version that had another list of profiles.
        return ()


def _bring(file: BundleFile, source: Path, target: Path, tell: Callable[[int], None]) -> None:
    """Copy one file into the bundle unless it is there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _is_there(file, target, tell):
        return
    partial = target.with_name(target.name + _PARTIAL)
    partial.unlink(missing_ok=True)
    with source.open("rb") as opened:
        try:
            copy_checked(opened, file, partial, lambda done, total: tell(done))
        except MedQAError as error:
            if isinstance(error, Cancelled):
                raise
            partial.unlink(missing_ok=True)
            raise MedQAError(
                "An installed file is not what was installed, so it is not exported.",
                f"{source}: its SHA-256 differs.",
                "medqa-tui doctor --deep, then: medqa-tui setup",
            ) from error
    partial.replace(target)
    sync_folder(target.parent)


def _is_there(file: BundleFile, target: Path, tell: Callable[[int], None]) -> bool:
    try:
        status = target.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        target.unlink()
        return False
    return sha256_file(target, lambda done, total: tell(done)) == file.sha256


def _described(folder: Path, active: Active, wanted: list[tuple[BundleFile, Path]]) -> Bundle:
    from medqa_tui import __version__

    return Bundle(
        folder=folder,
        profile=active.profile,
        active=active,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files=tuple(file for file, _ in wanted),
    )


def _require_own(paths: Paths, folder: Path, profile: str) -> None:
    """Refuse a folder that holds anything but a bundle of this profile.

    Raises:
        UsageError: It does, or lies inside the program's own folders.
    """
    if folder == paths.data or paths.data in folder.parents:
        raise UsageError("The program's own folder cannot hold an export.", f"{folder}.")
    try:
        entries = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise UsageError(
            "This is no folder:", f"{folder}.", "medqa-tui model export DIR"
        ) from error
    except OSError as error:
        raise MedQAError("The folder cannot be read.", f"{folder}: {error.strerror}.") from error
    strange = entries - {MANIFEST, *ROOTS}
    if strange:
        raise UsageError(
            "Something else is in this folder.",
            f"{folder}: {sorted(strange)[0]}.",
            f"Choose a new folder: medqa-tui model export {folder / 'medqa-bundle'}",
        )
    if MANIFEST in entries and (other := read_profile(folder)) not in {"", profile}:
        raise UsageError(
            "This folder holds another profile.",
            f"{folder}: {other}.",
            f"Choose a new folder: medqa-tui model export {folder}-{profile}",
        )


def _require_room(folder: Path, wanted: list[tuple[BundleFile, Path]]) -> None:
    missing = sum(
        file.size
        for file, _ in wanted
        if not folder.joinpath(*PurePosixPath(file.path).parts).exists()
    )
    free = shutil.disk_usage(folder).free
    if missing + _MARGIN > free:
        raise MedQAError(
            "There is not enough room for the export.",
            f"{folder}: {missing / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free.",
            "Free some space, or choose another folder.",
        )


def _damaged(active: Active, problem: str) -> MedQAError:
    return MedQAError(
        "The installed profile is damaged, so it is not exported.",
        f"{active.profile}: {problem}",
        "medqa-tui setup (it repairs what is missing)",
    )


def _check_cancel(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled(
            "The export was interrupted.",
            "The bundle is not whole and cannot be installed.",
            "Type the same command again: it goes on where it stopped.",
        )
