"""A study: the trials of a sweep, in a storage that processes and machines share."""

from __future__ import annotations

import os
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.paths import Paths, ensure

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

__all__ = [
    "IDENTITY",
    "REASON",
    "SURPLUS",
    "Storage",
    "fresh",
    "hidden",
    "is_surplus",
    "is_taken_over",
    "open_study",
    "origin",
    "read_study",
    "reap",
    "retry",
    "running",
    "sign",
    "whole",
]

IDENTITY = "identity"
SURPLUS = "surplus"
REASON = "reason"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_JOURNALS = {".journal", ".log", ".jsonl"}
_RETRIES = 5
_BEAT_SECONDS = 30
_SILENT_SECONDS = 150
_UNSIGNED_SECONDS = 60
_SIGNED, _HOST, _PID, _BORN = "signed", "host", "pid", "born"


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a study is kept.

    Attributes:
        place: A file's path, or the address of a database in SQLAlchemy's words.
        folder: What this machine keeps of its trials: checkpoints, and the best adapter.
    """

    study: str
    place: str
    folder: Path

    @classmethod
    def of(cls, paths: Paths, study: str, place: str | None) -> Storage:
        """Return where the study called `study` is, unless `place` says otherwise.

        Raises:
            UsageError: It cannot be called so.
        """
        if _NAME.fullmatch(study) is None:
            raise UsageError(
                "A study cannot be called so:",
                f"{study!r}.",
                "Use letters, digits, dots, dashes and underscores: --study my-study",
            )
        folder = paths.studies / study
        where = place or str(paths.studies / f"{study}.db")
        if "://" not in where:
            where = str(Path(where).expanduser().absolute())
        return cls(study, where, folder)

    @property
    def file(self) -> Path | None:
        """The file, unless it is a database server's."""
        if self.place.startswith("sqlite:///"):
            return Path(self.place.removeprefix("sqlite:///"))
        return None if "://" in self.place else Path(self.place)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this machine's part of the study."""
        from filelock import FileLock

        ensure(self.folder)
        with FileLock(self.folder / ".lock", mode=0o600):
            yield

    def connect(self) -> BaseStorage:
        """Open the storage.

        Raises:
            MedQAError: It cannot be opened, or is something else.
        """
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        file = self.file
        try:
            if file is not None:
                ensure(file.parent)
                if file.suffix in _JOURNALS:
                    lock = JournalFileOpenLock(str(file))
                    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
            with _quiet():
                return RDBStorage(
                    self.place if file is None else f"sqlite:///{file}",
                    engine_kwargs={} if file is None else {"connect_args": {"timeout": 60}},
                    heartbeat_interval=_BEAT_SECONDS,
                    grace_period=_SILENT_SECONDS,
                    heartbeat_stale_trial_callback=retry,
                )
        except MedQAError:
            raise
        # Drivers raise what they like.
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise MedQAError(
                "The study's storage cannot be opened.",
                f"{hidden(self.place)}: {said[0]}.",
                "Give a file or the address of a database: --storage sqlite:///study.db",
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Optuna's word that a part of it may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put a trial back whose process died, as one that waits and has the same settings."""
    with _quiet():
        again = RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
    again(study, trial)


def hidden(place: str) -> str:
    """Return an address without the password in it."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", place)


def open_study(
    storage: Storage,
    identity: Mapping[str, Any],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> optuna.Study:
    """Begin the study, or go on with it.

    Raises:
        UsageError: The study is of something else.
        MedQAError: The storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with storage.locked():
        study = optuna.create_study(
            study_name=storage.study,
            storage=storage.connect(),
            sampler=sampler,
            pruner=pruner,
            direction="minimize",
            load_if_exists=True,
        )
        before = study.user_attrs.get(IDENTITY)
        if before is None and not study.trials:
            study.set_user_attr(IDENTITY, dict(identity))
            return study
    other = _differences(before or {}, identity)
    if other:
        raise UsageError(
            "The study is of something else.",
            f"{storage.study} was begun with other {' and '.join(other)}.",
            "Type the command as it was, or begin another: --study NAME",
        )
    return study


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs; of settings, which."""
    found = []
    for key, value in now.items():
        known, named = before.get(key), key
        if known == value:
            continue
        if isinstance(known, dict) and isinstance(value, dict):
            parts = sorted(k for k in known.keys() | value.keys() if known.get(k) != value.get(k))
            named = f"{key} ({', '.join(parts)})"
        found.append(named)
    return found


def read_study(storage: Storage) -> optuna.Study:
    """Open a study to look at it.

    Raises:
        UsageError: There is none of that name.
        MedQAError: The storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    known: Sequence[str] = ()
    if storage.file is None or storage.file.exists():
        connected = storage.connect()
        known = optuna.get_all_study_names(connected)
        if storage.study in known:
            return optuna.load_study(study_name=storage.study, storage=connected)
    folder = storage.folder.parent
    known = [*known, *sorted(path.stem for path in folder.glob("*.db"))]
    hint = f"Known: {', '.join(known)}." if known else "medqa-tui train sweep generator --help"
    raise UsageError("There is no such study:", f"{storage.study}.", hint)


# -- trials ------------------------------------------------------------------------------------


def is_surplus(trial: FrozenTrial) -> bool:
    """Say whether a trial was given back, since another process had begun the last one."""
    return bool(trial.user_attrs.get(SURPLUS))


def origin(trial: FrozenTrial) -> int:
    """Return the number under which these settings were first begun."""
    with _quiet():
        first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first


def fresh(study: optuna.Study, before: int | None = None) -> list[FrozenTrial]:
    """Return the trials that were no other's second try, of those with a smaller number.

    Numbers are given out one by one in any storage, so that processes agree on who is which.
    """
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if (before is None or trial.number < before)
        and origin(trial) == trial.number
        and not is_surplus(trial)
    ]


def whole(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to their end, the best first."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: (trial.value or 0.0, trial.number))


def running(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that some process is at."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def is_taken_over(study: optuna.Study, number: int) -> bool:
    """Say whether another process took a trial for dead, as after a long sleep of this one."""
    trials = study.get_trials(deepcopy=False)
    first = origin(trials[number])
    later = any(origin(trial) == first for trial in trials[number + 1 :])
    return trials[number].state is TrialState.FAIL and later


def sign(trial: optuna.Trial) -> None:
    """Write into a trial which process is at it."""
    import psutil

    trial.set_user_attr(_HOST, socket.gethostname())
    trial.set_user_attr(_PID, os.getpid())
    trial.set_user_attr(_BORN, psutil.Process().create_time())
    trial.set_user_attr(_SIGNED, trial.number)


def reap(study: optuna.Study, storage: Storage) -> None:
    """Fail the trials whose process is gone, and put each back to be tried again.

    Those of other machines are known by their silence (Optuna's heartbeat), those of this one by
    their process, at once.
    """
    with _quiet():
        optuna.storages.fail_stale_trials(study)
    with storage.locked():
        for trial in running(study):
            if _is_dead(trial):
                # In this order: killed in between, it is tried twice, and never lost.
                retry(study, trial)
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _is_dead(trial: FrozenTrial) -> bool:
    import psutil

    attrs = trial.user_attrs
    # What a second try inherits is of the first one's process.
    if attrs.get(_SIGNED) != trial.number:
        began = trial.datetime_start
        return began is not None and time.time() - began.timestamp() > _UNSIGNED_SECONDS
    if attrs[_HOST] != socket.gethostname():
        return False
    try:
        return bool(abs(psutil.Process(attrs[_PID]).create_time() - attrs[_BORN]) > 1.0)
    except psutil.Error:
        return True
