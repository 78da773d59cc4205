"""What is there, what is missing, and which phases that takes; changes nothing."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from medqa_tui.errors import MedQAError
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.catalog import Component, Conversion, Profile
from medqa_tui.models.records import installed_record
from medqa_tui.models.wheels import PIP_FOLDER
from medqa_tui.paths import Paths, ensure
from medqa_tui.setup.events import Phase

_MARGIN = 50_000_000
_INDEX_SIZE = 10_000_000
_PARTIAL = ".partial-"


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
        return self.wheels / component.source.wheel

    def members(self, component: Component) -> Path:
        """Return where its files lie, once verified, until they are converted."""
        return self.unpacked / component.name

    def new_folder(self) -> Path:
        """Return a new folder for files to be unpacked into, to be renamed when they are whole."""
        return Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=ensure(self.unpacked)))

    def remove_leftovers(self) -> None:
        """Delete what killed runs left half done; only for who holds the setup lock."""
        left = [*self.unpacked.glob(f"{_PARTIAL}*"), *self.wheels.glob(f"{PIP_FOLDER}*")]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)


def store_file(paths: Paths) -> Path:
    """Return the file that holds every corpus."""
    return paths.corpora / "corpora.db"


@dataclass(frozen=True, slots=True)
class SetupPlan:
    """What setup has to do.

    Attributes:
        install: Components that are not wholly installed.
        fetch: Those of them whose wheel has to be downloaded.
        phases: What will run, in order; empty if everything is there and in use.
        reasons: Why the index has to be built, in words.
        data_bytes: Disk space needed below the data folder, about.
        cache_bytes: Disk space needed below the cache folder, for a while, about.
    """

    profile: Profile
    install: tuple[Component, ...]
    fetch: tuple[Component, ...]
    phases: tuple[Phase, ...]
    reasons: tuple[str, ...]
    data_bytes: int
    cache_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.phases

    @property
    def download_bytes(self) -> int:
        """Bytes to download."""
        return sum(component.source.size for component in self.fetch)


def make_plan(profile: Profile, paths: Paths) -> SetupPlan:
    """Compare `profile` with what lies on the disk.

    Raises:
        MedQAError: The passage store cannot be used.
    """
    work = Workplace.of(paths)
    install = tuple(c for c in profile.components if installed_record(paths.models, c) is None)
    unverified = tuple(c for c in install if not _is_unpacked(work, c))
    fetch = tuple(c for c in unverified if not _has_wheel(work, c))
    ingest = _ingest_needed(paths)
    reasons = _index_reasons(profile, paths, ingest, install)
    wanted = {
        Phase.DOWNLOAD: bool(fetch),
        Phase.VERIFY: bool(unverified),
        Phase.QUANTIZE: any(c.conversion is not Conversion.NONE for c in install),
        Phase.INGEST: ingest,
        Phase.INDEX: bool(reasons),
    }
    phases = tuple(phase for phase, needed in wanted.items() if needed)
    if phases or not _is_active(profile, paths):
        phases = (Phase.PREFLIGHT, *phases, Phase.SELF_TEST, Phase.ACTIVATE)
    data, cache = _space(install, unverified, fetch)
    return SetupPlan(
        profile=profile,
        install=install,
        fetch=fetch,
        phases=phases,
        reasons=reasons,
        data_bytes=data + (_INDEX_SIZE if reasons else 0),
        cache_bytes=cache,
    )


def is_unpacked(folder: Path, component: Component) -> bool:
    """Say whether the verified files of `component` lie in `folder`, by name and size."""
    return all(
        (folder / member.path).is_file() and (folder / member.path).stat().st_size == member.size
        for member in component.source.members
    )


def _is_unpacked(work: Workplace, component: Component) -> bool:
    # Without a conversion the verified files are installed at once, so they never wait here.
    return component.conversion is not Conversion.NONE and is_unpacked(
        work.members(component), component
    )


def _has_wheel(work: Workplace, component: Component) -> bool:
    wheel = work.wheel(component)
    return wheel.is_file() and wheel.stat().st_size == component.source.size


def _ingest_needed(paths: Paths) -> bool:
    # Opening the store would create it.
    if not store_file(paths).is_file():
        return True
    from medqa_tui.corpus.cards import CORPUS, load_cards
    from medqa_tui.corpus.store import CorpusStore

    shipped = [record.content_hash for card in load_cards() for record in card.to_passages()]
    with CorpusStore(store_file(paths)) as store:
        return [record.content_hash for record in store.records((CORPUS,))] != shipped


def _index_reasons(
    profile: Profile, paths: Paths, ingest: bool, install: tuple[Component, ...]
) -> tuple[str, ...]:
    folder = paths.indexes / profile.index
    if not folder.is_dir():
        return ("There is no index yet.",)
    if ingest:
        return ("The starter corpus has changed.",)
    if profile.embedder in install:
        return ("The embedding model is installed anew.",)
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.index import verify_index

    with CorpusStore(store_file(paths)) as store:
        return tuple(verify_index(folder, store))


def _is_active(profile: Profile, paths: Paths) -> bool:
    try:
        return load_active(paths) == Active.of_profile(profile)
    except MedQAError:
        return False


def _space(
    install: tuple[Component, ...],
    unverified: tuple[Component, ...],
    fetch: tuple[Component, ...],
) -> tuple[int, int]:
    """Return the bytes needed below the data folder and below the cache folder."""
    data = sum(component.installed_size + component.scratch_size for component in install)
    cache = sum(component.source.size for component in fetch)
    # pip keeps a second copy of a wheel for as long as it takes to move it.
    cache += max((component.source.size for component in fetch), default=0)
    cache += sum(
        component.source.unpacked_size
        for component in unverified
        if component.conversion is not Conversion.NONE
    )
    return (data + _MARGIN if data else 0), (cache + _MARGIN if cache else 0)
