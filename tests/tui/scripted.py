"""A core that follows a script: the app under test is real, what answers it is written down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.pilot import Pilot

from medqa_tui.backend import (
    Backend,
    GenerateEvent,
    GenerateRequest,
    GroundRequest,
    GroundResult,
    RetrieveEvent,
    RetrieveRequest,
)
from medqa_tui.config import Settings
from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Confidence,
    ConfidenceLabel,
    Evidence,
    GeneratorKind,
    ModelInfo,
    Passage,
    Question,
    Scores,
    Sentence,
    Support,
)
from medqa_tui.events import (
    AnswerDone,
    Event,
    EvidenceFound,
    Notice,
    SentenceChecked,
    StatusChanged,
    Token,
)
from medqa_tui.history.store import HistoryStore
from medqa_tui.models.catalog import get_profile
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.setup.events import Phase, SetupEvent
from medqa_tui.setup.plan import SetupPlan
from medqa_tui.setup.proposal import Better
from medqa_tui.tui.app import MedQAApp
from medqa_tui.tui.screens.chat import ChatScreen
from medqa_tui.tui.services import Services

if TYPE_CHECKING:
    from medqa_tui.assistant import Recorder

QUESTION = "What are the symptoms of type 2 diabetes?"
SENTENCES = (
    Sentence(
        "Common symptoms are being very thirsty, passing urine often and feeling tired.",
        (1,),
        Support.SUPPORTED,
        0.93,
    ),
    Sentence("Some people lose weight or see blurred shapes.", (1, 2), Support.PARTIAL, 0.61),
)
MODEL = ModelInfo(
    "starter", "SmolLM2-135M-Instruct", "medqa-starter", "nf4", "cpu", GeneratorKind.MODEL
)


def passage(n: int, title: str, text: str, question: str | None = None) -> Evidence:
    """Return evidence number `n` of an invented corpus."""
    return Evidence(
        n,
        Passage(
            f"starter:card-{n}#0",
            "starter",
            f"card-{n}",
            title,
            text,
            question,
            "MedlinePlus",
            f"https://medlineplus.gov/example-{n}.html",
            "CC BY 4.0",
            "2026-01-05",
            "0123456789abcdef",
        ),
        Scores(0.81 - n / 100, 14.2 - n, 0.0325, None, n, n),
    )


EVIDENCE = (
    passage(
        1,
        "Type 2 diabetes: symptoms",
        "Common symptoms of type 2 diabetes are being very thirsty, passing urine often, feeling"
        " tired, and losing weight without trying. Cuts may heal slowly. Many people have no"
        " symptoms for years, which is why a blood test matters for those at risk.",
        "What are the symptoms of type 2 diabetes?",
    ),
    passage(
        2,
        "High blood sugar and the eyes",
        "High blood sugar can make the lens of the eye swell, which blurs sight for a while.",
        "Can diabetes change eyesight?",
    ),
    passage(3, "Type 1 diabetes", "In type 1 diabetes the body stops making insulin."),
)


def answered(question: str = QUESTION, **changes: object) -> Answer:
    """Return a checked answer without times, changed as told."""
    values: dict[str, object] = {
        "question": question,
        "status": AnswerStatus.ANSWERED,
        "text": " ".join(f"{s.text} {''.join(f'[{n}]' for n in s.citations)}" for s in SENTENCES),
        "sentences": SENTENCES,
        "evidence": EVIDENCE,
        "confidence": Confidence(0.78, ConfidenceLabel.HIGH),
        "model": MODEL,
        "disclaimer": DISCLAIMER,
    }
    return Answer(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Gate:
    """A place in a script where it waits until the test opens it (or the user cancels)."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)


Step = Callable[[Question], Event] | Gate | Exception


def status(message: str) -> Step:
    return lambda q: StatusChanged(q.turn, "work", message)


def found(
    evidence: tuple[Evidence, ...] = EVIDENCE,
    provisional: bool = False,
    relevant: bool = True,
    query: str | None = None,
) -> Step:
    return lambda q: EvidenceFound(q.turn, evidence, query or q.text, relevant, provisional)


def token(text: str) -> Step:
    return lambda q: Token(q.turn, text)


def checked(sentence: Sentence) -> Step:
    return lambda q: SentenceChecked(q.turn, sentence)


def notice(message: str) -> Step:
    return lambda q: Notice(q.turn, "note", message)


def done(**changes: object) -> Step:
    return lambda q: AnswerDone(q.turn, answered(q.text, **changes))


def ordinary() -> list[Step]:
    """Return the script of an answer where all goes well."""
    return [
        status("Searching"),
        found(provisional=True),
        found(),
        token("Common symptoms are being very thirsty, "),
        token("passing urine often and feeling tired. [1]"),
        checked(SENTENCES[0]),
        token(" Some people lose weight or see blurred shapes. [1][2]"),
        checked(SENTENCES[1]),
        done(),
    ]


class ScriptedBackend:
    """A backend that is always warm; the scripted answers never ask it for anything."""

    quotes = False

    def __init__(self) -> None:
        self.closed = False
        self.warm: list[StatusChanged | Notice | Exception] = []

    async def prepare(self, turn: str) -> AsyncIterator[StatusChanged | Notice]:
        for event in self.warm:
            if isinstance(event, Exception):
                raise event
            yield event

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncIterator[RetrieveEvent]:
        for event in ():
            yield event

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        for event in ():
            yield event

    async def ground(self, request: GroundRequest) -> GroundResult:
        return GroundResult(request.turn, ())

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Script:
    """Everything the app is told, and what it asked.

    Attributes:
        scripts: The steps of each answer, one list a question, in order.
        setups: What each run of setup does: events to report, then perhaps an error to raise;
            a threading event is waited for (or the cancel).
    """

    scripts: list[list[Step]] = field(default_factory=lambda: [ordinary()])
    ready: bool = True
    settings: Settings = field(default_factory=Settings)
    backend: ScriptedBackend = field(default_factory=ScriptedBackend)
    setups: list[list[SetupEvent | Exception | threading.Event]] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    sessions: int = 0
    trouble: str = ""
    proposal: Better | None = None
    empty: bool = False
    history: Path = Path("no-such-folder/history.db")

    def services(self) -> Services:
        """Return the script as the app's services."""
        return Services(
            load_settings=lambda: self.settings,
            is_ready=lambda _settings: self.ready,
            open_backend=lambda _settings: self.backend,
            answer=self.answer,
            open_recorder=self._open_recorder,
            plan=self._plan,
            proposal=lambda settings: self.proposal,
            run_setup=self._run_setup,
            engine_status=lambda: None,
            history=lambda tell: HistoryStore(self.history, tell),
            clock=lambda: 0.0,
        )

    def app(self) -> MedQAApp:
        """Return the real app on this script."""
        return MedQAApp(self.services())

    async def answer(
        self,
        question: Question,
        backend: Backend,
        *,
        settings: Settings,
        recorder: Recorder | None = None,
        cancel: asyncio.Event | None = None,
    ) -> AsyncIterator[Event]:
        self.asked.append(question)
        assert cancel is not None
        for step in self.scripts.pop(0):
            if isinstance(step, Gate):
                step.reached.set()
                await _first(step.opened, cancel)
                if cancel.is_set():
                    text = answered(question.text).text
                    yield AnswerDone(
                        question.turn,
                        answered(
                            question.text,
                            status=AnswerStatus.CANCELLED,
                            sentences=SENTENCES[:1],
                            text=text,
                        ),
                    )
                    return
            elif isinstance(step, Exception):
                raise step
            else:
                yield step(question)

    def _open_recorder(self, _settings: Settings, tell: Callable[[str], None]) -> Recorder | None:
        self.sessions += 1
        if self.trouble:
            tell(self.trouble)
        return None

    def _plan(self, settings: Settings) -> SetupPlan:
        plan = starter_plan(settings.profile)
        here = self.empty and settings.profile == self.settings.profile
        return replace(plan, install=(), fetch=(), phases=()) if here else plan

    def _run_setup(
        self,
        settings: Settings,
        on_event: Callable[[SetupEvent], None],
        cancel: threading.Event,
    ) -> None:
        from medqa_tui.errors import ExitCode, MedQAError

        for step in self.setups.pop(0):
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                while not step.wait(0.01):
                    if cancel.is_set():
                        raise MedQAError("Stopped.", exit_code=ExitCode.INTERRUPTED)
            else:
                on_event(step)
        self.installed.append(settings.profile)
        self.ready = True


def starter_plan(name: str = "starter") -> SetupPlan:
    """Return the plan of a machine that has nothing yet."""
    profile = get_profile(name)
    return SetupPlan(
        profile=profile,
        install=profile.components,
        fetch=profile.components,
        phases=tuple(Phase),
        reasons=(),
        data_bytes=345_000_000,
        cache_bytes=180_000_000,
    )


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def until(pilot: Pilot[object], condition: Callable[[], object]) -> None:
    """Let the app work until `condition` holds; the test's own time limit is the last resort."""
    try:
        async with asyncio.timeout(20):
            while not condition():
                await pilot.pause()
    except TimeoutError:
        raise AssertionError(f"this did not come to be:\n{text_of(pilot)}") from None


async def focused(pilot: Pilot[object], selector: str) -> None:
    """Wait until the widget has the focus, so that the next key is its own."""
    await until(pilot, lambda: getattr(pilot.app.focused, "id", None) == selector.lstrip("#"))


async def ask(pilot: Pilot[object], text: str = QUESTION) -> None:
    """Type a question and send it."""
    from medqa_tui.tui.widgets.question import QuestionInput

    field_ = chat(pilot).query_one(QuestionInput)
    field_.focus()
    field_.text = text
    await pilot.press("enter")


async def answered_all(pilot: Pilot[object]) -> None:
    """Wait until no answer is being made."""
    screen = chat(pilot)
    await until(pilot, lambda: screen.conversation.turns and not screen.busy)
    await pilot.pause()


def chat(pilot: Pilot[object]) -> ChatScreen:
    """Return the main screen, whatever lies above it."""
    return next(s for s in pilot.app.screen_stack if isinstance(s, ChatScreen))


def text_of(pilot: Pilot[object]) -> str:
    """Return what is on the screen, as text."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


Driver = Callable[[Pilot[object]], Awaitable[None]]
