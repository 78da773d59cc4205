"""The full-screen app. It draws first; the core is imported by workers, after the first frame."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import ModalScreen, Screen

from medqa_tui.backend import Backend
from medqa_tui.errors import MedQAError, NotSetUpError
from medqa_tui.tui import bindings
from medqa_tui.tui.messages import (
    EngineProgress,
    EngineReady,
    SettingsLoaded,
    SetupNeeded,
    StartupFailed,
    Told,
)
from medqa_tui.tui.screens.chat import ChatScreen
from medqa_tui.tui.screens.help import HelpScreen
from medqa_tui.tui.screens.quit import QuitScreen
from medqa_tui.tui.screens.setup import SetupScreen
from medqa_tui.tui.services import Services, core_services
from medqa_tui.tui.themes import DARK, LIGHT, THEMES
from medqa_tui.tui.wording import failure_of, one_line

if TYPE_CHECKING:
    from medqa_tui.assistant import Recorder
    from medqa_tui.config import Settings

_POLL = 0.5


@dataclass(frozen=True)
class Session:
    """What an answer needs: settings, the backend, and where the conversation is kept."""

    settings: Settings
    backend: Backend
    recorder: Recorder | None


class MedQAApp(App[int]):
    """Owns the session and the screens; what is drawn belongs to the screens."""

    TITLE = "medqa-tui"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings.APP]
    CSS_PATH = [  # noqa: RUF012
        "widgets/disclaimer.tcss",
        "widgets/emergency.tcss",
        "widgets/question.tcss",
        "widgets/status.tcss",
        "widgets/evidence.tcss",
        "widgets/turn.tcss",
        "widgets/conversation.tcss",
        "screens/modal.tcss",
        "screens/chat.tcss",
        "screens/setup.tcss",
    ]

    def __init__(self, services: Services | None = None) -> None:
        super().__init__()
        self.services = services or core_services()
        self.settings: Settings | None = None
        self._backend: Backend | None = None
        self._recorder: Recorder | None = None
        self._opened = asyncio.Event()
        self._broken: MedQAError | None = None
        self._profile = ""
        self._chat = ChatScreen()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    def on_mount(self) -> None:
        self.push_screen(self._chat)
        self.call_after_refresh(self.start)

    # -- the core, in the background --

    def start(self) -> None:
        """Read the configuration and warm the engine while the user types."""
        self._opened.clear()
        self._broken = None
        self.run_worker(self._start(), group="start", exclusive=True, exit_on_error=False)

    async def _start(self) -> None:
        try:
            settings = await asyncio.to_thread(self.services.load_settings)
            if self._profile:
                # Set up in the app, which outranks what the program was started with.
                settings = settings.model_copy(update={"profile": self._profile})
            if self._backend is not None:
                await self._backend.aclose()
            self.post_message(SettingsLoaded(settings))
            self._backend = await asyncio.to_thread(self.services.open_backend, settings)
            self.settings = settings
            self._opened.set()
            if not await asyncio.to_thread(self.services.is_ready, settings):
                self.post_message(SetupNeeded())
                return
            await self._warm(self._backend)
        except NotSetUpError:
            self.post_message(SetupNeeded())
        except MedQAError as error:
            self._give_up(error)
        except Exception as error:
            self._give_up(
                MedQAError(
                    "The program could not start its engine.",
                    f"{type(error).__name__} inside the program.",
                    "Run: medqa-tui doctor",
                )
            )

    def _give_up(self, error: MedQAError) -> None:
        self._broken = error
        self._opened.set()
        self.post_message(StartupFailed(failure_of(error)))

    async def _warm(self, backend: Backend) -> None:
        async for event in backend.prepare("start"):
            self.post_message(EngineProgress(event))
        while True:
            status = await asyncio.to_thread(self.services.engine_status)
            if status is None or status.state != "loading":
                break
            self.post_message(EngineReady(status.doing, status.device or ""))
            await asyncio.sleep(_POLL)
        self.post_message(EngineReady(device=(status.device or "") if status else ""))

    async def session(self) -> Session:
        """Return the session, waiting for the core to be there.

        Raises:
            MedQAError: The configuration or the backend cannot be used.
        """
        await self._opened.wait()
        if self.settings is None or self._backend is None:
            raise self._broken or MedQAError("The program is not ready yet.", "", "Ask again.")
        if self._recorder is None:
            self._recorder = self.services.open_recorder(self.settings, self.tell)
        return Session(self.settings, self._backend, self._recorder)

    def tell(self, message: str) -> None:
        """Show what the user should know about keeping the history; the answer goes on."""
        self.notify(one_line(message), severity="warning", timeout=15, markup=False)

    def tell_later(self, message: str) -> None:
        """Show what the user should know, from any thread."""
        self.post_message(Told(message))

    def on_told(self, message: Told) -> None:
        self.tell(message.words)

    def forget_session(self) -> None:
        """Begin a new session with the next question."""
        self._recorder = None

    def _fatal_error(self) -> None:
        # Textual would print a traceback with the values of variables, and so perhaps a question.
        self.bell()
        self._close_messages_no_wait()

    async def on_unmount(self) -> None:
        if self._backend is not None:
            await self._backend.aclose()

    # -- what the background says --

    def on_settings_loaded(self, message: SettingsLoaded) -> None:
        wanted = message.settings.ui.theme
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            self.notify(f"There is no theme {wanted!r}; using {DARK}.", markup=False)
        self._chat.post_message(SettingsLoaded(message.settings))

    def on_engine_progress(self, message: EngineProgress) -> None:
        self._chat.post_message(EngineProgress(message.event))

    def on_engine_ready(self, message: EngineReady) -> None:
        self._chat.post_message(EngineReady(message.message, message.device))

    def on_startup_failed(self, message: StartupFailed) -> None:
        self._chat.post_message(StartupFailed(message.failure))

    def on_setup_needed(self, _message: SetupNeeded) -> None:
        if self.settings is None or isinstance(self.screen, SetupScreen):
            return
        self._chat.post_message(EngineReady("Not set up"))
        self.push_screen(SetupScreen(self.settings), self._set_up)

    def _set_up(self, installed: str | None) -> None:
        if installed:
            self._profile = installed
            self.start()

    # -- actions --

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the commands that do something now."""
        if screen is self._chat:
            yield from self._chat_commands()
        other = LIGHT if self.current_theme.dark else DARK
        yield SystemCommand(
            f"{'Light' if other == LIGHT else 'Dark'} theme",
            f"Keep it with: medqa-tui config set ui.theme {other}",
            lambda: setattr(self, "theme", other),
        )
        yield SystemCommand("Theme", "Choose among all themes", self.action_change_theme)
        if screen is self._chat:
            yield SystemCommand("History", "Earlier questions and answers", self.action_history)
        yield SystemCommand("Training", "How far each training is", self.action_training)
        yield SystemCommand("Keys", "What every key does", self.action_help)
        yield SystemCommand("Quit", "Leave the program", self.action_quit)

    def _chat_commands(self) -> Iterable[SystemCommand]:
        chat = self._chat
        if chat.busy:
            yield SystemCommand("Stop", "End the answer; what was written stays", chat.action_stop)
        elif chat.conversation.turns:
            yield SystemCommand(
                "New conversation", "Start without the context", chat.action_new_conversation
            )
        if self.settings is not None and not chat.busy:
            yield SystemCommand(
                "Set up", "What else this machine could run, and switch to it", self.action_set_up
            )
        if chat.last_answer:
            yield SystemCommand(
                "Copy the answer", "With its sources and the disclaimer", chat.action_copy_answer
            )
        shown = chat.evidence_shown
        yield SystemCommand(
            "Hide the evidence" if shown else "Show the evidence",
            "The passages that the answer stands on",
            chat.action_toggle_evidence,
        )

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The history is reached from the conversation."""
        if action != "history" or not self.screen_stack:
            return True
        return self.screen is self._chat or isinstance(self.screen, ModalScreen)

    def action_history(self) -> None:
        """Show the earlier questions over the conversation, or take them away again."""
        from medqa_tui.tui.screens.history import HistoryScreen

        screen = self.screen
        if isinstance(screen, HistoryScreen):
            screen.dismiss()
        elif screen is self._chat:
            enabled = self.settings is None or self.settings.history.enabled
            self.push_screen(HistoryScreen(enabled))

    def action_set_up(self) -> None:
        """Show what is installed and what else could be."""
        if self.settings is not None:
            self.push_screen(SetupScreen(self.settings, first=False), self._set_up)

    def action_training(self) -> None:
        """Show the trainings over whatever is on the screen, or take them away again."""
        from medqa_tui.tui.screens.training import TrainingScreen

        screen = self.screen
        if isinstance(screen, TrainingScreen):
            screen.dismiss()
        elif not isinstance(screen, ModalScreen):
            self.push_screen(TrainingScreen())

    async def action_quit(self) -> None:
        """Leave; ask first only while something runs."""
        screen = self.screen
        if isinstance(screen, QuitScreen):
            return
        if isinstance(screen, SetupScreen) and screen.running:
            self.push_screen(
                QuitScreen("Setup is running. It goes on from there next time."), self._leave
            )
        elif self._chat.busy:
            self.push_screen(
                QuitScreen("An answer is being written. It is kept as it is."), self._leave
            )
        else:
            self.exit(0)

    def _leave(self, sure: bool | None) -> None:
        if not sure:
            return
        for screen in self.screen_stack:
            if isinstance(screen, SetupScreen):
                screen.stop()
        if self._chat.busy:
            self._chat.action_stop()
        self.exit(0)


def run_app(profile: str | None = None, in_process: bool = False) -> int:
    """Open the app and return the exit code of the process.

    Args:
        profile: Overrides the configured profile.
        in_process: Load the models in this process instead of the shared engine.

    Raises:
        Exception: What nobody foresaw, once the terminal is its old self, for the caller to tell.
    """
    app = MedQAApp(core_services(profile, in_process))
    app.run()
    if app._exception is not None:
        raise app._exception
    return app.return_code or 0
