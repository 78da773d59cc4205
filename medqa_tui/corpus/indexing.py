"""The search indexes after a change of the corpora: built by a child process, if there are any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths
    from medqa_tui.setup.child import Message
    from medqa_tui.setup.events import Chore, Phase

    OnProgress = Callable[[Message], None]

LATER = "medqa-tui index build"

_NOT_OUT = "Not every search index is without what was removed."


@dataclass(frozen=True, slots=True)
class Indexed:
    """How the indexes are once they followed the corpora.

    Attributes:
        current: Whether that of the profile in use is up to date; without a profile there is none.
        behind: Other installed profiles whose index lacks what is new, by name.
    """

    current: bool
    behind: tuple[str, ...] = ()


def update_indexes(
    paths: Paths,
    settings: Settings,
    on_progress: OnProgress,
    cancel: threading.Event | None = None,
) -> Indexed:
    """Bring the index of the profile in use up to date, and the others as far as no model is
    needed; for who holds the setup lock.

    What was removed from the corpora leaves every index. What is new is embedded for the profile
    in use only, and reaches other profiles of the same embedding model with it. The old index
    answers until the new one is whole, and a killed build goes on where it stopped.

    Raises:
        MedQAError: The build failed; what was stored stays stored, and no index holds what was
            removed.
        Cancelled: `cancel` was set.
    """
    from medqa_tui.models.active import load_active
    from medqa_tui.models.files import Cancelled

    active = load_active(paths, settings.profile)
    try:
        if active is not None:
            _update_own(active, paths, settings, on_progress, cancel)
    except Cancelled as error:
        raise Cancelled(
            "The search index was not finished.",
            "The passages are stored; what was found before is found still.",
            f"{LATER} (it goes on where it stopped)",
        ) from error
    except MedQAError as error:
        raise MedQAError(
            "The passages are stored, but the search index could not be built.",
            f"{error.title} {error.detail}".strip(),
            LATER,
            error.exit_code,
        ) from error
    return Indexed(active is not None, update_others(paths, settings, on_progress, cancel))


def update_others(
    paths: Paths,
    settings: Settings,
    on_progress: OnProgress,
    cancel: threading.Event | None = None,
) -> tuple[str, ...]:
    """Bring the indexes up to date as far as no model is needed; for who holds the setup lock.

    Returns:
        The installed profiles, but for the one in use, whose index lacks what is new.

    Raises:
        MedQAError: An index could not be changed.
        Cancelled: `cancel` was set.
    """
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.models.active import load_installed
    from medqa_tui.models.files import Cancelled
    from medqa_tui.retrieval.pruning import due_indexes, is_behind
    from medqa_tui.setup.events import Chore

    with CorpusStore(paths.corpora / "corpora.db") as store:
        if due_indexes(paths.indexes, store):
            try:
                _run(Chore.PRUNE, paths, settings, on_progress, cancel)
            except Cancelled as error:
                raise Cancelled(_NOT_OUT, "Others may still be behind.", LATER) from error
            except MedQAError as error:
                why = f"{error.title} {error.detail}".strip()
                raise MedQAError(_NOT_OUT, why, LATER, error.exit_code) from error
        installed = load_installed(paths)
        return tuple(
            each.profile
            for each in (installed.profiles if installed else ())
            if each.profile != settings.profile and is_behind(each.index_dir(paths), store)
        )


def _update_own(
    active: Active,
    paths: Paths,
    settings: Settings,
    on_progress: OnProgress,
    cancel: threading.Event | None,
) -> None:
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.models.files import Cancelled
    from medqa_tui.retrieval.index import verify_index
    from medqa_tui.retrieval.pruning import has_removed
    from medqa_tui.setup.events import Chore, Phase

    with CorpusStore(paths.corpora / "corpora.db") as store:
        if not verify_index(active.index_dir(paths), store):
            return
        removed = has_removed(paths.indexes, store)
    try:
        _run(Phase.INDEX, paths, settings, on_progress, cancel)
    except Cancelled:
        raise
    except MedQAError:
        # The model may be what fails, and what was removed leaves without one.
        if removed:
            with suppress(MedQAError):
                _run(Chore.PRUNE, paths, settings, on_progress, cancel)
        raise


def _run(
    phase: Phase | Chore,
    paths: Paths,
    settings: Settings,
    on_progress: OnProgress,
    cancel: threading.Event | None,
) -> None:
    from medqa_tui.setup.child import Job, run_job

    engine = settings.engine
    run_job(Job(phase, settings.profile, paths, engine.device, engine.threads), on_progress, cancel)
