"""Searching through the backend, for the commands that show or measure what is found."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from medqa_tui.backend import Backend, RetrieveRequest
from medqa_tui.cli import corpus_work, diagnostics, interrupt
from medqa_tui.cli.options import Options
from medqa_tui.cli.trec import Query, documents
from medqa_tui.config import Settings, load_settings
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.events import BackendFailed, EvidenceFound, Notice, StatusChanged
from medqa_tui.paths import get_paths

Mode = Literal["hybrid", "bm25", "dense"]

RUN_DEPTH = 100
"""Documents that a run names for a query, where nobody says how many."""

# Several passages can be of one document, and a run names a document once.
_PASSAGES_A_DOCUMENT = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to search; None leaves it to the settings."""

    k: int | None = None
    mode: Mode | None = None
    corpora: tuple[str, ...] = ()
    rerank: bool = True
    sources: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


class Search:
    """Searches, and says on the status line what the backend does meanwhile."""

    def __init__(
        self, backend: Backend, settings: Settings, wanted: Wanted, line: diagnostics.StatusLine
    ) -> None:
        self.line = line
        self._backend = backend
        self._settings = settings.retrieval
        self._corpora = wanted.corpora or settings.retrieval.corpora_of(settings.profile)
        self._wanted = wanted
        self._told: set[str] = set()

    async def find(self, query: str) -> EvidenceFound:
        """Return the final evidence for `query`.

        Raises:
            MedQAError: The backend failed.
        """
        request = RetrieveRequest(
            uuid.uuid4().hex,
            query,
            k=self._wanted.k or self._settings.k,
            corpora=self._corpora,
            mode=self._wanted.mode or self._settings.mode,
            rerank=self._settings.rerank and self._wanted.rerank,
            sources=self._wanted.sources,
            since=self._wanted.since,
            until=self._wanted.until,
        )
        found: EvidenceFound | None = None
        async for event in self._backend.retrieve(request, asyncio.Event()):
            match event:
                case EvidenceFound():
                    found = event
                case StatusChanged(message=message, fraction=fraction):
                    self.line.show(message, fraction)
                case Notice(message=message):
                    if message not in self._told:
                        self._told.add(message)
                        diagnostics.note(f"Note: {message}")
                case BackendFailed(failure=failure):
                    code = ExitCode(failure.exit_code)
                    raise MedQAError(failure.title, failure.detail, failure.hint, code)
        if found is None:
            raise MedQAError("The search ended without a result.", "", "medqa-tui doctor")
        return found


@asynccontextmanager
async def open_search(options: Options, wanted: Wanted) -> AsyncIterator[Search]:
    """Give a search over what is installed, with the status line and Ctrl-C in place.

    Raises:
        NotSetUpError: Nothing is installed.
        KeyboardInterrupt: Ctrl-C.
    """
    from medqa_tui.engine.client import open_backend
    from medqa_tui.setup.ready import require_ready

    paths, settings = get_paths(), load_settings(options.overrides())
    require_ready(paths, settings)
    if wanted.corpora:
        corpus_work.require_all(wanted.corpora)
    backend = open_backend(paths, settings, in_process=options.no_engine)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with (
        diagnostics.StatusLine() as line,
        interrupt.first_calls(partial(loop.call_soon_threadsafe, task.cancel)),
    ):
        try:
            async for event in backend.prepare(""):
                if isinstance(event, StatusChanged):
                    line.show(event.message, event.fraction)
            yield Search(backend, settings, wanted, line)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            await backend.aclose()


async def rank(
    options: Options, wanted: Wanted, queries: Sequence[Query]
) -> list[tuple[Query, list[str]]]:
    """Return what is found for each query: its documents, best first, each once.

    Raises:
        NotSetUpError: Nothing is installed.
        KeyboardInterrupt: Ctrl-C.
    """
    limit = wanted.k or RUN_DEPTH
    deep = replace(wanted, k=limit * _PASSAGES_A_DOCUMENT)
    ranked = []
    async with open_search(options, deep) as search:
        for done, query in enumerate(queries):
            search.line.show("Searching", done / len(queries), f"({done} of {len(queries)})")
            found = await search.find(query.text)
            ranked.append((query, documents(found.evidence, limit)))
    return ranked
