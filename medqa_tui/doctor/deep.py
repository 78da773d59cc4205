"""Everything installed, read to its last byte: what is damaged, part by part."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check, fail, few, ok, warn
from medqa_tui.errors import MedQAError
from medqa_tui.models.files import Cancelled, sha256_file
from medqa_tui.models.install import LEFTOVERS
from medqa_tui.models.records import InstallRecord
from medqa_tui.models.shipped import CARD_NAME, AdapterCard, adapter_problems

if TYPE_CHECKING:
    from medqa_tui.paths import Paths

# Message, how much is done, how much there is; in bytes where both are given.
OnProgress = Callable[[str, int | None, int | None], None]
# What a repair puts out of the way, until what takes its place is whole.
DAMAGED = ".damaged"
_LEFT = (*LEFTOVERS, f"{DAMAGED}-")
REPAIR = "medqa-tui doctor --deep --repair"


class Part(StrEnum):
    """What can be damaged, in the order in which it is repaired."""

    LEFTOVERS = "leftovers"
    HISTORY = "history"
    MODEL = "models"
    ADAPTER = "adapters"
    CORPORA = "corpora"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged thing.

    Attributes:
        name: A model's or an adapter's name, an index's, or the name of the part.
        place: Its file or folder.
        problems: What is wrong, in words.
        profiles: The installed profiles that need it.
    """

    part: Part
    name: str
    place: Path
    problems: tuple[str, ...]
    profiles: tuple[str, ...] = ()


def inspect(
    paths: Paths, on_progress: OnProgress, cancel: threading.Event | None = None
) -> tuple[list[Damage], dict[Part, str]]:
    """Return what is damaged, and for each part what there is of it, in a sentence.

    Nothing is changed. A part of which nothing is installed has no sentence.

    Raises:
        Cancelled: `cancel` was set.
    """
    look = _Look(paths, on_progress, cancel)
    damages: list[Damage] = []
    told: dict[Part, str] = {}
    for step in (look.leftovers, look.history, look.files, look.corpora, look.indexes):
        look.check_cancel()
        found, said = step()
        damages += found
        told |= said
    return damages, told


def as_checks(damages: list[Damage], told: dict[Part, str]) -> list[Check]:
    """Return the findings as checks, one a part."""
    checks = []
    for part in Part:
        broken = [damage for damage in damages if damage.part is part]
        problems = [problem for damage in broken for problem in damage.problems]
        if not broken:
            if part in told:
                checks.append(ok(part.value, told[part]))
        elif part is Part.LEFTOVERS:
            checks.append(warn(part.value, few(problems), REPAIR))
        else:
            checks.append(fail(part.value, few(problems), REPAIR))
    return checks


class _Look:
    def __init__(
        self, paths: Paths, on_progress: OnProgress, cancel: threading.Event | None
    ) -> None:
        self.paths = paths
        self.tell = on_progress
        self.cancel = cancel

    def check_cancel(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("The check was interrupted.", "", "medqa-tui doctor --deep")

    def leftovers(self) -> tuple[list[Damage], dict[Part, str]]:
        """What killed installations and repairs left."""
        found = tuple(leftovers(self.paths))
        if not found:
            return [], {Part.LEFTOVERS: "Nothing half-made lies about."}
        problems = tuple(f"{path} was left by something that was cut off." for path in found)
        return [Damage(Part.LEFTOVERS, "leftovers", self.paths.data, problems)], {}

    def history(self) -> tuple[list[Damage], dict[Part, str]]:
        """Every page of the history, its indexes and its search index."""
        path = self.paths.history_db
        if not path.exists():
            return [], {}
        self.tell("Reading the history", None, None)
        try:
            problems, count = _history_problems(path)
        except sqlite3.OperationalError:
            return [], {Part.HISTORY: "Another program is writing to it now."}
        if problems:
            return [Damage(Part.HISTORY, "history", path, tuple(problems))], {}
        return [], {Part.HISTORY: f"{count} questions, every page read."}

    def files(self) -> tuple[list[Damage], dict[Part, str]]:
        """Every file of every model and adapter, hashed."""
        installed = [
            *((Part.MODEL, folder) for folder in _folders(self.paths.models)),
            *((Part.ADAPTER, folder) for folder in _folders(self.paths.adapters)),
        ]
        records = {folder: InstallRecord.read(folder) for _, folder in installed}
        total = sum(record.size for record in records.values() if record is not None)
        damages, done = [], 0
        users = _users(self.paths)
        seen = {folder.name for _, folder in installed}
        for part, folder in installed:
            record = records[folder]
            if record is not None:
                problems = self._hash(folder, record, done, total)
                done += record.size
            elif part is Part.ADAPTER and (folder / CARD_NAME).is_file():
                problems = _trained_problems(folder)
            else:
                problems = ["It has no install record that can be read."]
            if problems:
                used = tuple(users.get(folder.name, ()))
                damages.append(Damage(part, folder.name, folder, tuple(problems), used))
        for name in sorted(users.keys() - seen):
            place = self.paths.models / name
            damages.append(
                Damage(Part.MODEL, name, place, (f"{place} is missing.",), tuple(users[name]))
            )
        broken = {damage.part for damage in damages}
        counts = {part: sum(each is part for each, _ in installed) for part in Part}
        told = {
            part: f"{counts[part]} installed, every file hashed."
            for part in (Part.MODEL, Part.ADAPTER)
            if counts[part] and part not in broken
        }
        return damages, told

    def _hash(self, folder: Path, record: InstallRecord, done: int, total: int) -> list[str]:
        problems = record.problems(folder)
        known = " ".join(problems)
        for file in record.files:
            path = folder / file.path

            def on_progress(read: int, size: int, before: int = done) -> None:
                del size
                self.check_cancel()
                self.tell(f"Hashing {record.name}", before + read, total)

            if str(path) not in known and sha256_file(path, on_progress) != file.sha256:
                problems.append(f"{path} is not what was installed: its SHA-256 differs.")
            done += file.size
        return problems

    def corpora(self) -> tuple[list[Damage], dict[Part, str]]:
        """Every page and every passage of the store."""
        from medqa_tui.corpus.store import CorpusStore
        from medqa_tui.setup.plan import store_file

        path = store_file(self.paths)
        actives = _profiles(self.paths)
        if not path.is_file():
            missing = (f"{path} is missing.",)
            damage = Damage(Part.CORPORA, "corpora", path, missing, tuple(actives))
            return [damage] if actives else [], {}
        self.tell("Reading the corpora", None, None)
        try:
            with CorpusStore(path) as store:
                problems = store.problems()
                said = f"{store.count()} passages, every one read."
        except MedQAError as error:
            if not _is_corrupt(path):
                # Another version's, or another user's: that is told of where it is opened.
                return [], {}
            problems, said = [f"{error.title} {error.detail}"], ""
        if problems:
            return [Damage(Part.CORPORA, "corpora", path, tuple(problems), tuple(actives))], {}
        return [], {Part.CORPORA: said}

    def indexes(self) -> tuple[list[Damage], dict[Part, str]]:
        """Every file of every index in use, hashed, and compared with the corpora."""
        from medqa_tui.corpus.store import CorpusStore
        from medqa_tui.models.active import load_active
        from medqa_tui.retrieval.index import verify_index
        from medqa_tui.setup.plan import store_file

        damages, seen = [], 0
        for profile in _profiles(self.paths):
            active = load_active(self.paths, profile)
            assert active is not None
            self.check_cancel()
            self.tell(f"Hashing the index {active.index}", None, None)
            folder, seen = active.index_dir(self.paths), seen + 1
            try:
                with CorpusStore(store_file(self.paths)) as store:
                    reasons = verify_index(folder, store)
            except MedQAError:
                # The store is told of on its own.
                reasons = verify_index(folder)
            if reasons:
                damages.append(Damage(Part.INDEX, active.index, folder, tuple(reasons), (profile,)))
        told = {Part.INDEX: "Every file is as it was written."} if seen and not damages else {}
        return damages, told


def leftovers(paths: Paths) -> Iterator[Path]:
    """Yield what killed installations and repairs left, none of which is in use.

    What is being set up or added now is none.
    """
    from medqa_tui.history.salvage import leftovers as of_history
    from medqa_tui.models import adapters
    from medqa_tui.setup.lock import lock_file

    # Setup installs adapters as well.
    locks = {paths.models: [lock_file(paths)]}
    locks[paths.adapters] = [lock_file(paths), adapters.lock_file(paths)]
    for folder, held in locks.items():
        if folder.is_dir() and not any(_is_held(each) for each in held):
            yield from sorted(path for path in folder.iterdir() if path.name.startswith(_LEFT))
    if paths.history_db.parent.is_dir():
        yield from of_history(paths.history_db)


def _is_held(lock: Path) -> bool:
    """Return whether another thread or process holds the lock now."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0, mode=0o600):
            return False
    except Timeout:
        return True


def _history_problems(path: Path) -> tuple[list[str], int]:
    """Return what is wrong with the history's file, and how many questions it holds.

    Raises:
        sqlite3.OperationalError: Another program is writing to it.
    """
    from medqa_tui.history import search
    from medqa_tui.history.migrations import VERSION
    from medqa_tui.history.salvage import is_damage

    try:
        with closing(sqlite3.connect(path, timeout=2.0)) as connection:
            said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            if said != ["ok"]:
                return [f"{path}: {line}" for line in said], 0
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version == VERSION and not search.is_sound(connection):
                return [f"{path}: its search index is damaged."], 0
            count = connection.execute("SELECT count(*) FROM turns").fetchone()[0]
            return [], int(count)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        return [f"{path} is damaged: {error}."], 0


def _is_corrupt(path: Path) -> bool:
    """Return whether SQLite itself finds the file damaged."""
    from medqa_tui.history.migrations import require_sound
    from medqa_tui.history.salvage import is_damage

    try:
        with closing(sqlite3.connect(path, timeout=2.0)) as connection:
            require_sound(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return is_damage(error)
    return False


def _profiles(paths: Paths) -> list[str]:
    """Return the names of the installed profiles."""
    from medqa_tui.models.adapters import load_all

    return [active.profile for active in load_all(paths)]


def _users(paths: Paths) -> dict[str, list[str]]:
    """Return which profiles need which folder of models and adapters, shipped ones left out."""
    from medqa_tui.models.adapters import load_all

    users: dict[str, list[str]] = {}
    for active in load_all(paths):
        folders = list(active.model_dirs(paths))
        for folder in (active.adapter_dir(paths), active.reranker_dir(paths)):
            if folder is not None and folder.parent == paths.adapters and folder.is_dir():
                folders.append(folder)
        for folder in folders:
            users.setdefault(folder.name, []).append(active.profile)
    return users


def _trained_problems(folder: Path) -> list[str]:
    """Return what is wrong with an adapter that was trained here: its card is all it has."""
    try:
        base = AdapterCard.read(folder).base
    except MedQAError as error:
        return [f"{error.title} {error.detail}"]
    return adapter_problems(folder, base, deep=True)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
