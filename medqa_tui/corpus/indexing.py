"""The search index after a change of the corpora: built by a child process, if there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths
    from medqa_tui.setup.child import Message

LATER = "medqa-tui index build"


def update_index(
    paths: Paths,
    settings: Settings,
    on_progress: Callable[[Message], None],
    cancel: threading.Event | None = None,
) -> bool:
    """Bring the index of the profile in use up to date; for who holds the setup lock.

    The old index answers until the new one is whole, and a killed build goes on where it stopped.

    Returns:
        Whether there is a profile to index for; without one, setup builds the index.

    Raises:
        MedQAError: The build failed; what was stored stays stored.
        Cancelled: `cancel` was set.
    """
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.models.active import load_active
    from medqa_tui.models.files import Cancelled
    from medqa_tui.retrieval.index import verify_index
    from medqa_tui.setup.child import Job, run_job
    from medqa_tui.setup.events import Phase

    active = load_active(paths, settings.profile)
    if active is None or active.profile != settings.profile:
        return False
    with CorpusStore(paths.corpora / "corpora.db") as store:
        if not verify_index(active.index_dir(paths), store):
            return True
    engine = settings.engine
    job = Job(Phase.INDEX, settings.profile, paths, engine.device, engine.threads)
    try:
        run_job(job, on_progress, cancel)
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
    return True
