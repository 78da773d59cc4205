"""Questions asked one after another from the command line, over one backend and one history."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from medqa_tui import assistant
from medqa_tui.cancelling import closing
from medqa_tui.cli import corpus_work, diagnostics, interrupt
from medqa_tui.cli.ready import ensure_ready
from medqa_tui.cli.render import AnswerPrinter
from medqa_tui.config import Settings, load_settings
from medqa_tui.domain import Answer, AnswerStatus, Failure, Question, Triage, Turn
from medqa_tui.errors import MedQAError, NotSetUpError
from medqa_tui.events import AnswerDone
from medqa_tui.generation.decoding import decoding_of
from medqa_tui.paths import Paths, get_paths
from medqa_tui.safety.disclaimer import DISCLAIMER

if TYPE_CHECKING:
    from medqa_tui.assistant import Recorder
    from medqa_tui.backend import Backend
    from medqa_tui.cli.options import Options, Wishes
    from medqa_tui.history.store import HistoryStore


class Conversation:
    """Settings, backend and history of one conversation, each opened when first needed.

    Raises:
        UsageError: The settings are not valid.
    """

    def __init__(self, options: Options, wishes: Wishes) -> None:
        self._wishes = wishes
        self._json = options.json
        self._runner = asyncio.Runner()
        overrides = options.overrides()
        if wishes.k is not None:
            overrides["retrieval.k"] = wishes.k
        if wishes.corpora:
            overrides["retrieval.corpora"] = ", ".join(wishes.corpora)
        if not wishes.evidence:
            overrides["answer.evidence"] = False
        self.settings: Settings = load_settings(overrides)
        # Before anything is installed or loaded for settings that contradict each other.
        decoding_of(self.settings)
        self.paths: Paths = get_paths()
        self._in_process = options.no_engine
        self._backend: Backend | None = None
        self._store: HistoryStore | None = None
        self._session: str | None = None
        self._turns: tuple[Turn, ...] = ()
        if wishes.resume:
            self._resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._backend is not None:
                self._runner.run(self._backend.aclose())
        finally:
            self._runner.close()

    def renew(self) -> None:
        """Forget what was said so far; the next question begins a new conversation."""
        self._session = None
        self._turns = ()

    def ask(self, text: str, triage: Triage) -> Answer:
        """Answer `text`, printing it as it comes, and return the answer.

        Args:
            triage: What the red-flag rules found; the advice has been shown already.

        Raises:
            MedQAError: Nothing is installed, or the backend cannot be opened.
        """
        question = Question(text, uuid.uuid4().hex, self._turns)
        try:
            # Nobody in an emergency should watch a download.
            allowed = self._wishes.setup and not triage.is_emergency
            ensure_ready(self.paths, self.settings, allow_setup=allowed)
            if self._wishes.corpora:
                corpus_work.require_all(self._wishes.corpora)
            backend = self._open_backend()
        except MedQAError as error:
            if not triage.is_emergency:
                raise
            answer = self._advice_only(question, triage, error)
        else:
            answer = self._runner.run(self._run(question, backend))
        if answer.is_context:
            self._turns = (*self._turns, Turn(text, answer.text))
        return answer

    async def _run(self, question: Question, backend: Backend) -> Answer:
        loop, cancel = asyncio.get_running_loop(), asyncio.Event()
        answer: Answer | None = None
        with (
            diagnostics.StatusLine() as line,
            interrupt.first_calls(partial(loop.call_soon_threadsafe, cancel.set)),
        ):
            printer = AnswerPrinter(line, data=not self._json)
            stream = assistant.answer(
                question,
                backend,
                settings=self.settings,
                recorder=self._recorder(),
                cancel=cancel,
            )
            # Closed here and now if the reader of stdout is gone: the history hears of it.
            async with closing(stream) as told:
                async for event in told:
                    if isinstance(event, AnswerDone):
                        answer = event.answer
                    else:
                        printer.show(event)
            if answer is None:
                raise MedQAError("The answer ended early.", "", "medqa-tui doctor")
            printer.finish(answer)
        return answer

    def _advice_only(self, question: Question, triage: Triage, error: MedQAError) -> Answer:
        """Return the answer of a machine that can give advice and nothing more."""
        answer = Answer(
            question=question.text,
            status=AnswerStatus.EMERGENCY,
            triage=triage,
            disclaimer=DISCLAIMER,
            failure=Failure(error.title, error.detail, error.hint, error.exit_code),
        )
        recorder = self._recorder()
        if recorder is not None:
            recorder.begin(question, triage)
            recorder.finish(question.turn, answer)
        if not isinstance(error, NotSetUpError):
            diagnostics.report(error)
        elif triage.educate:
            diagnostics.note("Only the advice is given: nothing is set up to answer with yet.")
        if not self._json:
            diagnostics.always(DISCLAIMER)
        return answer

    def _open_backend(self) -> Backend:
        if self._backend is None:
            from medqa_tui.engine.client import open_backend

            self._backend = open_backend(self.paths, self.settings, in_process=self._in_process)
        return self._backend

    def _history(self) -> HistoryStore:
        if self._store is None:
            from medqa_tui.history.store import HistoryStore

            if not self.paths.history_db.exists():
                diagnostics.note(
                    f"Questions and answers are kept in {self.paths.history_db}. "
                    "To turn that off: medqa-tui config set history.enabled false"
                )
            days = self.settings.history.retention_days
            self._store = HistoryStore(self.paths.history_db, diagnostics.warn, days)
        return self._store

    def _recorder(self) -> Recorder | None:
        if not (self._wishes.save and self.settings.history.enabled):
            return None
        store = self._history()
        if self._session is None:
            self._session = store.new_session()
        recorder: Recorder = store.recorder(self._session)
        return recorder

    def _resume(self) -> None:
        session = self._history().latest_session() if self.paths.history_db.exists() else None
        if session is None:
            diagnostics.note("There is no earlier conversation; this begins a new one.")
            return
        self._session = session
        self._turns = self._history().turns(session)
