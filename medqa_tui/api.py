"""The Python interface: the same core as the command line and the app, in a few lines.

Example:
    >>> from medqa_tui import Assistant
    >>> answer = Assistant().ask("What are the symptoms of type 2 diabetes?")
    >>> answer.text, answer.confidence.label
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

from medqa_tui import assistant
from medqa_tui.backend import RetrieveRequest
from medqa_tui.cancelling import closing
from medqa_tui.config import Settings, load_settings
from medqa_tui.domain import Answer, Evidence, Question, Turn
from medqa_tui.engine.client import open_backend
from medqa_tui.engine.wire import error_of
from medqa_tui.errors import MedQAError
from medqa_tui.events import AnswerDone, BackendFailed, Event, EvidenceFound
from medqa_tui.paths import get_paths


class Assistant:
    """Answers medical questions from the installed corpora. Nothing is kept in the history.

    Args:
        settings: Settings to use; the environment and the config file decide if left out.
        in_process: Load the models in this process instead of the shared engine.
    """

    def __init__(self, settings: Settings | None = None, *, in_process: bool = False) -> None:
        self.settings = settings or load_settings()
        self.in_process = in_process
        self._paths = get_paths()

    async def stream(self, text: str, context: tuple[Turn, ...] = ()) -> AsyncIterator[Event]:
        """Yield the events of one answer; the last one is `AnswerDone`."""
        question = Question(text, uuid.uuid4().hex, context)
        backend = open_backend(self._paths, self.settings, in_process=self.in_process)
        try:
            answering = assistant.answer(question, backend, settings=self.settings)
            async with closing(answering) as told:
                async for event in told:
                    yield event
        finally:
            await backend.aclose()

    def ask(self, text: str, context: tuple[Turn, ...] = ()) -> Answer:
        """Return the answer to `text`. Not for use inside a running event loop: see `stream`."""

        async def last() -> Answer:
            async for event in self.stream(text, context):
                if isinstance(event, AnswerDone):
                    return event.answer
            raise MedQAError("The answer ended early.", "", "Try again, or run medqa-tui doctor.")

        return asyncio.run(last())

    def search(self, query: str, k: int | None = None) -> tuple[Evidence, ...]:
        """Return the passages found for `query`, best first.

        Raises:
            MedQAError: Nothing is installed, or the engine failed.
        """

        async def find() -> tuple[Evidence, ...]:
            backend = open_backend(self._paths, self.settings, in_process=self.in_process)
            request = RetrieveRequest(
                uuid.uuid4().hex,
                query,
                k=k or self.settings.retrieval.k,
                corpora=self.settings.retrieval.corpora_of(self.settings.profile),
                mode=self.settings.retrieval.mode,
                rerank=self.settings.retrieval.rerank,
            )
            found: tuple[Evidence, ...] = ()
            try:
                async for _ in backend.prepare(request.turn):
                    pass
                async for event in backend.retrieve(request, asyncio.Event()):
                    match event:
                        case EvidenceFound():
                            found = event.evidence
                        case BackendFailed(failure=failure):
                            raise error_of(failure)
                        case _:
                            pass
            finally:
                await backend.aclose()
            return found

        return asyncio.run(find())
