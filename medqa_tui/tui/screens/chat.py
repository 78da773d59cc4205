"""The main screen: question, answer, evidence, status, and the disclaimer above them."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Footer
from textual.worker import Worker

from medqa_tui.domain import Answer, AnswerStatus, Question, TriageLevel
from medqa_tui.errors import ExitCode
from medqa_tui.events import (
    AnswerDone,
    BackendFailed,
    DraftDropped,
    EvidenceFound,
    GenerationDone,
    Notice,
    SentenceChecked,
    StatusChanged,
    Token,
    TriageFound,
)
from medqa_tui.tui import bindings
from medqa_tui.tui.answering import stream_answer
from medqa_tui.tui.messages import (
    AnswerEvent,
    CitationSelected,
    EngineProgress,
    EngineReady,
    PassageOpened,
    QuestionSubmitted,
    SettingsLoaded,
    SetupNeeded,
    StartupFailed,
)
from medqa_tui.tui.screens.passage import PassageScreen
from medqa_tui.tui.widgets.conversation import Conversation
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.widgets.emergency import EmergencyPanel
from medqa_tui.tui.widgets.evidence import EvidencePanel
from medqa_tui.tui.widgets.question import QuestionInput
from medqa_tui.tui.widgets.status import StatusLine
from medqa_tui.tui.widgets.turn import TurnView
from medqa_tui.tui.wording import failure_text, one_line, plain_answer

if TYPE_CHECKING:
    from medqa_tui.tui.app import MedQAApp

WIDE = 110
TALL = 40
_TICK = 0.5


class ChatScreen(Screen[None]):
    """Asks, and draws what comes back. One answer at a time."""

    BINDINGS = bindings.CHAT  # type: ignore[assignment]
    AUTO_FOCUS = "#question"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._answering: str | None = None
        self._cancel = asyncio.Event()
        self._worker: Worker[None] | None = None
        self._ticker: Timer | None = None
        self._began = 0.0
        self._first_token: float | None = None
        self._tokens = 0
        self._engine_says = "Starting"

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        yield EmergencyPanel()
        with Container(id="body"):
            yield Conversation()
            yield EvidencePanel()
        yield QuestionInput()
        yield StatusLine()
        yield Footer(show_command_palette=False)

    # -- typed access --

    @property
    def medqa(self) -> MedQAApp:
        """The app, with its type."""
        return cast("MedQAApp", self.app)

    @property
    def conversation(self) -> Conversation:
        """The answer pane."""
        return self.query_one(Conversation)

    @property
    def evidence(self) -> EvidencePanel:
        """The sidebar."""
        return self.query_one(EvidencePanel)

    @property
    def status(self) -> StatusLine:
        """The line at the bottom."""
        return self.query_one(StatusLine)

    @property
    def busy(self) -> bool:
        """Whether an answer is being made."""
        return self._answering is not None

    @property
    def last_answer(self) -> Answer | None:
        """The newest finished answer on the screen."""
        answers = [view.answer for view in self.conversation.turns if view.answer]
        return answers[-1] if answers else None

    @property
    def evidence_shown(self) -> bool:
        """Whether the evidence is on the screen at this width."""
        return self.has_class("-evidence") or (
            self.size.width >= WIDE and not self.has_class("-no-evidence")
        )

    # -- start-up ---------------------------------------------------------------------------

    def on_settings_loaded(self, message: SettingsLoaded) -> None:
        settings = message.settings
        self.status.profile = settings.profile
        if settings.engine.device != "auto":
            self.status.device = settings.engine.device
        self.conversation.show_history(settings.history.enabled)

    def on_engine_progress(self, message: EngineProgress) -> None:
        match message.event:
            case StatusChanged(message=words, fraction=fraction):
                share = "" if fraction is None else f" {fraction:.0%}"
                self._engine_says = f"{words}{share}"
            case Notice(message=words):
                self.notify(one_line(words), markup=False)
        self._idle_status()

    def on_engine_ready(self, message: EngineReady) -> None:
        self._engine_says = message.message
        self.conversation.show_trouble("")
        if message.device:
            self.status.device = message.device
        self._idle_status()

    def on_startup_failed(self, message: StartupFailed) -> None:
        self._engine_says = f"✗ {message.failure.title}"
        self._idle_status()
        self.conversation.show_trouble(failure_text(message.failure))

    def _idle_status(self) -> None:
        if not self.busy:
            self.status.doing = self._engine_says

    # -- asking --

    async def on_question_submitted(self, message: QuestionSubmitted) -> None:
        if self.busy:
            self.notify("Still answering. Esc stops it; then send again.", markup=False)
            return
        self.query_one(QuestionInput).accepted(message.text)
        question = Question(message.text, uuid.uuid4().hex, self.conversation.context)
        self._answering = question.turn
        self._cancel = asyncio.Event()
        self._first_token, self._tokens = None, 0
        self.query_one(EmergencyPanel).clear()
        for view in self.conversation.turns:
            view.add_class("-past")
        await self.conversation.start(question.turn, question.text)
        await self.evidence.show(question.turn, None)
        self._start_clock()
        self.refresh_bindings()
        self._worker = self.run_worker(
            stream_answer(self.medqa, self, question, self._cancel), group="answer"
        )

    async def on_answer_event(self, message: AnswerEvent) -> None:
        event = message.event
        view = self.conversation.turn(event.turn)
        if view is None or event.turn != self._answering:
            return
        match event:
            case TriageFound(triage=triage):
                if triage.level is not TriageLevel.NONE:
                    self.remove_class("-evidence")
                    self.query_one(EmergencyPanel).show(triage)
                    view.show_advice(triage)
                    self.app.bell()
            case StatusChanged(message=words, fraction=fraction):
                doing = words if fraction is None else f"{words} {fraction:.0%}"
                self.status.doing = doing
                view.show_doing(doing)
            case EvidenceFound():
                view.show_evidence(event)
                await self.evidence.show(event.turn, event)
            case Token(text=text):
                await view.show_token(text)
                self._count_token()
            case SentenceChecked(sentence=sentence):
                view.show_checked(sentence)
            case DraftDropped(reason=reason):
                await view.drop_draft(reason)
            case Notice(message=words):
                view.show_notice(words)
            case AnswerDone(answer=answer):
                await self._finish(view, answer)
            case GenerationDone() | BackendFailed():
                # Between the backend and the assistant; never part of an answer.
                pass

    async def _finish(self, view: TurnView, answer: Answer) -> None:
        await view.finish(answer)
        self._answering = None
        self._stop_clock()
        if answer.model.device:
            self.status.device = answer.model.device
        # Who quotes writes no tokens.
        written, spent = answer.tokens.completion, answer.timings.generate
        self.status.speed = written / spent * 1000 if written and spent else None
        self._idle_status()
        self.refresh_bindings()
        failure = answer.failure
        if answer.status is AnswerStatus.FAILED and failure:
            if failure.exit_code == ExitCode.NOT_SET_UP:
                self.app.post_message(SetupNeeded())
            elif not answer.text:
                # Nothing was said, so the question is the user's to send again.
                self.query_one(QuestionInput).text = answer.question

    # -- speed and time --

    def _start_clock(self) -> None:
        self._began = self.medqa.services.clock()
        self.status.speed, self.status.elapsed = None, 0.0
        self.status.doing = "Getting ready"
        self._ticker = self.set_interval(_TICK, self._tick)

    def _tick(self) -> None:
        self.status.elapsed = self.medqa.services.clock() - self._began

    def _stop_clock(self) -> None:
        if self._ticker:
            self._ticker.stop()
            self._ticker = None
        self._tick()

    def _count_token(self) -> None:
        now = self.medqa.services.clock()
        self.status.doing = "Writing"
        if self._first_token is None:
            self._first_token = now
        else:
            self._tokens += 1
        spent = now - self._first_token
        self.status.speed = self._tokens / spent if spent > 0 else None

    # -- evidence --

    async def on_citation_selected(self, message: CitationSelected) -> None:
        view = self.conversation.turn(message.turn)
        if view is None or view.found is None:
            return
        if self.evidence.turn != message.turn:
            await self.evidence.show(message.turn, view.found)
        self._show_evidence(True)
        if not self.evidence.focus_card(message.n):
            self.notify(f"There is no passage {message.n}.", markup=False)

    def on_passage_opened(self, message: PassageOpened) -> None:
        passages = tuple(card.evidence for card in self.evidence.cards)
        self.app.push_screen(PassageScreen(passages, message.evidence.n, self.evidence.searched))

    def _show_evidence(self, shown: bool) -> None:
        self.set_class(shown, "-evidence")
        self.set_class(not shown, "-no-evidence")
        if not shown and self.evidence.has_focus_within:
            self.query_one(QuestionInput).focus()

    def action_cite(self, n: int) -> None:
        self.post_message(CitationSelected(self.evidence.turn, n))

    def action_toggle_evidence(self) -> None:
        self._show_evidence(not self.evidence_shown)

    def action_focus_evidence(self) -> None:
        self._show_evidence(True)
        if self.evidence.cards:
            self.evidence.focus_card(self.evidence.cards[0].evidence.n, expand=False)

    # -- other actions --

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that do nothing now."""
        match action:
            case "stop":
                return self.busy
            case "copy_answer":
                return self.last_answer is not None
            case "new_conversation":
                return bool(self.conversation.turns) and not self.busy
            case _:
                return True

    def action_stop(self) -> None:
        """End the answer within one step; a second time, let go of it at once."""
        if self._cancel.is_set() and self._worker:
            self._worker.cancel()
        self._cancel.set()
        self.status.doing = "Stopping"

    def action_back(self) -> None:
        if self.size.width < WIDE and self.has_class("-evidence"):
            self._show_evidence(False)
            self.query_one(QuestionInput).focus()
        elif self.query_one(QuestionInput).has_focus:
            self.conversation.focus()
        else:
            self.query_one(QuestionInput).focus()

    def action_focus_question(self) -> None:
        self.query_one(QuestionInput).focus()

    async def action_new_conversation(self) -> None:
        if self.busy:
            self.notify("Still answering. Esc stops it first.", markup=False)
            return
        self.query_one(EmergencyPanel).clear()
        await self.conversation.reset()
        await self.evidence.show("", None)
        self.status.speed = self.status.elapsed = None
        self.medqa.forget_session()
        self.query_one(QuestionInput).focus()
        self.refresh_bindings()

    def action_copy_answer(self) -> None:
        if self.last_answer:
            self.app.copy_to_clipboard(plain_answer(self.last_answer))
            self.notify("Copied: the answer, its sources and the disclaimer.", markup=False)
