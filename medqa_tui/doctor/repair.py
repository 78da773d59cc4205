"""Putting right what the deep check found, with what setup and the history have for it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.doctor.deep import DAMAGED, Damage, OnProgress, Part, leftovers
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import Cancelled
from medqa_tui.models.records import RECORD_NAME, InstallRecord

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths
    from medqa_tui.setup.events import SetupEvent

_AGAIN = "medqa-tui doctor --deep --repair"


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of one damaged thing.

    Attributes:
        done: What was done, or why nothing could be, in words.
        fix: What the user can do where it was not repaired.
    """

    part: Part
    name: str
    ok: bool
    done: str
    fix: str = ""


def repair(
    damages: Sequence[Damage],
    paths: Paths,
    settings: Settings,
    on_progress: OnProgress,
    cancel: threading.Event | None = None,
) -> list[Repair]:
    """Repair what can be repaired and say for each what was done.

    Killed at any point, what was whole before is whole still, and the next run goes on.

    Args:
        settings: `offline` keeps it from fetching anything.

    Raises:
        Cancelled: `cancel` was set.
    """
    work = _Work(paths, settings, on_progress, cancel)
    own: dict[Part, Callable[[Damage], Repair]] = {
        Part.LEFTOVERS: work.leftovers,
        Part.HISTORY: work.history,
    }
    done = []
    for damage in damages:
        if damage.part in own:
            work.check_cancel()
            done.append(own[damage.part](damage))
    return [*done, *work.installed([each for each in damages if each.part not in own])]


class _Work:
    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        on_progress: OnProgress,
        cancel: threading.Event | None,
    ) -> None:
        self.paths = paths
        self.settings = settings
        self.tell = on_progress
        self.cancel = cancel

    def check_cancel(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            detail = "What was in use before is in use still."
            raise Cancelled("The repair was interrupted.", detail, _AGAIN)

    def leftovers(self, damage: Damage) -> Repair:
        """Delete what was left, once nothing that installs can be using it."""
        from medqa_tui.history.migrations import remove
        from medqa_tui.models import adapters
        from medqa_tui.setup.lock import setup_lock

        found = list(leftovers(self.paths))
        held = setup_lock(self.paths, self._wait, self.cancel)
        with held, adapters.lock(self.paths, self.cancel):
            for path in found:
                if not path.exists():  # a setup that ran meanwhile took it away
                    continue
                try:
                    shutil.rmtree(path) if path.is_dir() else remove(path)
                except OSError as error:
                    return self._failed(damage, f"{path}: {error.strerror or error}.")
        return Repair(damage.part, damage.name, ok=True, done=f"{len(found)} deleted.")

    def history(self, damage: Damage) -> Repair:
        """Salvage the history, or make its search index anew."""
        from medqa_tui.history.database import Database, in_words

        self.tell("Repairing the history", None, None)
        try:
            database = Database(self.paths.history_db)
            # A fault that only the thorough check finds is put right by writing it anew.
            done = database.repair() or database.repair(sure=True)
        except (sqlite3.Error, OSError) as error:
            return self._failed(damage, str(in_words(error, self.paths.history_db)))
        return Repair(damage.part, damage.name, ok=True, done=done)

    def installed(self, damages: Sequence[Damage]) -> list[Repair]:
        """Let setup install anew what is damaged, profile by profile."""
        added = [self._added(damage) for damage in damages if _is_added(damage)]
        return [*added, *self._anew([each for each in damages if not _is_added(each)])]

    def _anew(self, damages: Sequence[Damage]) -> list[Repair]:
        if not damages:
            return []
        corpora = [damage for damage in damages if damage.part is Part.CORPORA]
        try:
            lost = self._corpora_aside(corpora[0]) if corpora else ""
        except OSError as error:
            return [self._failed(each, f"{error.filename}: {error.strerror}.") for each in damages]
        reasons: dict[str, MedQAError] = {}
        names = dict.fromkeys(name for damage in damages for name in damage.profiles)
        whole: set[Path] = set()
        for profile in names:
            self.check_cancel()
            own = [damage for damage in damages if profile in damage.profiles]
            # What two profiles share is installed anew once.
            with _out_of_the_way([damage for damage in own if damage.place not in whole]):
                try:
                    self._set_up(profile)
                    whole |= {damage.place for damage in own}
                except Cancelled:
                    raise
                except MedQAError as error:
                    reasons[profile] = error
        return [self._outcome(damage, reasons, lost) for damage in damages]

    def _set_up(self, profile: str) -> None:
        from medqa_tui.setup.events import PhaseState, SetupOptions
        from medqa_tui.setup.runner import TITLES, run_setup

        def on_event(event: SetupEvent) -> None:
            counts = event.unit == "bytes" and event.done is not None and event.total
            done, total = (int(event.done or 0), int(event.total or 0)) if counts else (None, None)
            if event.state in (PhaseState.STARTED, PhaseState.PROGRESS):
                self.tell(event.message or TITLES[event.phase], done, total)

        options = SetupOptions(profile=profile, offline=self.settings.offline, yes=True)
        run_setup(options, self.paths, self.settings, on_event, self.cancel)

    def _corpora_aside(self, damage: Damage) -> str:
        """Move a damaged store out of the way; return what setup will not bring back, in words."""
        from medqa_tui.corpus.cards import CORPUS
        from medqa_tui.corpus.store import CorpusStore

        if not damage.place.exists():
            return ""
        try:
            with CorpusStore(damage.place) as store:
                names = [name for name in store.fingerprints() if name != CORPUS]
        except MedQAError:
            names = []
        aside = damage.place.with_name(f"{damage.place.name}{DAMAGED}-{_now()}")
        for suffix in ("", "-wal", "-shm", "-journal"):
            part = Path(f"{damage.place}{suffix}")
            if part.exists():
                part.rename(f"{aside}{suffix}")
        said = f" The damaged file is kept in {aside}."
        if names:
            said += f" Add these again with medqa-tui corpus add: {', '.join(names)}."
        return said

    def _outcome(self, damage: Damage, reasons: dict[str, MedQAError], lost: str) -> Repair:
        if not damage.profiles:
            return self._unused(damage)
        failed = [reasons[name] for name in damage.profiles if name in reasons]
        if failed:
            error = failed[0]
            said = f"{error.title} {error.detail}".strip()
            return Repair(damage.part, damage.name, ok=False, done=said, fix=error.hint or _AGAIN)
        what = {
            Part.MODEL: "Installed anew.",
            Part.ADAPTER: "Installed anew.",
            Part.INDEX: "Built anew.",
            Part.CORPORA: f"The starter corpus is stored anew.{lost}",
        }[damage.part]
        return Repair(damage.part, damage.name, ok=True, done=what)

    def _unused(self, damage: Damage) -> Repair:
        """Tell what to do about a damaged thing that no installed profile needs."""
        said = "No profile that is set up needs it, so it was left alone."
        fix = f'rm -r "{damage.place}"'
        if damage.part is Part.ADAPTER:
            fix = f"medqa-tui adapter remove {damage.name}"
        return Repair(damage.part, damage.name, ok=False, done=said, fix=fix)

    def _added(self, damage: Damage) -> Repair:
        """Tell what to do about a damaged adapter in use that no profile brings with it."""
        said = "It was added or trained here, so setup cannot bring it back; it was left as it is."
        fix = f"medqa-tui adapter remove --force {damage.name}"
        record = InstallRecord.read(damage.place)
        if record is not None and record.id:
            again = f"medqa-tui adapter download {record.id} --name {damage.name} --use"
            fix = f"{fix}, then: {again}"
        return Repair(damage.part, damage.name, ok=False, done=said, fix=fix)

    def _failed(self, damage: Damage, reason: str) -> Repair:
        return Repair(damage.part, damage.name, ok=False, done=reason, fix=_AGAIN)

    def _wait(self) -> None:
        self.tell("A setup is running; waiting for it", None, None)


def _is_added(damage: Damage) -> bool:
    """Say whether it is an adapter in use that is no part of the profiles that use it."""
    if damage.part is not Part.ADAPTER or not damage.profiles:
        return False
    from medqa_tui.models.catalog import profiles

    users = [profile for profile in profiles() if profile.name in damage.profiles]
    components = [profile.adapter_component for profile in users]
    return all(each is None or each.name != damage.name for each in components)


@contextmanager
def _out_of_the_way(damages: Sequence[Damage]) -> Iterator[None]:
    """Let setup take what is damaged for not installed; give back what it did not replace.

    A damaged model may still answer, which is more than none does.
    """
    moved: list[tuple[Path, Path]] = []
    for damage in damages:
        folder = damage.place
        record = folder / RECORD_NAME
        if damage.part is Part.MODEL and record.is_file():
            moved.append((record, folder / f"{RECORD_NAME}{DAMAGED}"))
        elif damage.part is Part.ADAPTER and folder.is_dir():
            # One that is there is never replaced by another.
            moved.append((folder, folder.with_name(f"{DAMAGED}-{folder.name}")))
    for place, aside in moved:
        place.rename(aside)
    try:
        yield
    finally:
        for place, aside in moved:
            if aside.exists() and not place.exists() and place.parent.is_dir():
                aside.rename(place)
            elif aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
