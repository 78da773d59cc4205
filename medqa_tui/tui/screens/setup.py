"""First-run setup: what will be fetched and under which licence, then progress, phase by phase."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Footer, Static

from medqa_tui.domain import Failure
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.tui.messages import SetupEnded, SetupPlanned, SetupProgress
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.widgets.phases import PhaseList
from medqa_tui.tui.wording import failure_of, failure_text, one_line, size

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.setup.events import SetupEvent
    from medqa_tui.setup.plan import SetupPlan
    from medqa_tui.tui.app import MedQAApp

_PRIVATE = (
    "This happens once. Afterwards nothing you ask leaves this machine.\n"
    "Questions and answers are kept here, for you only; turn that off with:\n"
    "medqa-tui config set history.enabled false"
)
_BROKEN = Failure(
    "Setup broke off.", "An error inside the program.", "Try again, or run: medqa-tui doctor"
)


class SetupScreen(Screen[str]):
    """Dismissed with the name of the profile when it is installed, with nothing when it is not.

    Args:
        first: Nothing that could answer is installed, so that there is no screen to go back to.
    """

    BINDINGS = [  # noqa: RUF012
        Binding("escape", "cancel", "Cancel setup"),
        Binding("escape", "close", "Close"),
    ]

    def __init__(self, settings: Settings, first: bool = True) -> None:
        super().__init__()
        self._settings = settings
        self._given = settings.profile
        self._first = first
        self._other = ""
        self._cancel = threading.Event()
        self._phases: tuple[str, ...] = ()
        self.running = False

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "First start: set up" if self._first else "Set up"
            with VerticalScroll(id="setup-body", can_focus=False):
                yield Static("Looking at what is needed …", markup=False, id="setup-plan")
                yield PhaseList(id="setup-phases")
                yield Static("", markup=False, id="setup-words")
            with Horizontal(classes="buttons"):
                yield Button("Start", id="start", variant="primary", disabled=True, compact=True)
                yield Button("", id="other", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Quit" if self._first else "Close", id="quit", compact=True)
        yield Footer(show_command_palette=False)

    @property
    def medqa(self) -> MedQAApp:
        """The app, with its type."""
        return cast("MedQAApp", self.app)

    def on_mount(self) -> None:
        self._offer("")
        self._show_running(False)
        self._find_plan()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Esc stops what runs, or goes back where there is something to go back to."""
        match action:
            case "cancel":
                return self.running
            case "close":
                return not self.running and not self._first
            case _:
                return True

    # -- work, in threads: they post messages and touch no widget --

    @work(thread=True, group="setup", exit_on_error=False)
    def _find_plan(self) -> None:
        try:
            services = self.medqa.services
            plan = services.plan(self._settings)
            self.post_message(SetupPlanned(plan, services.proposal(self._settings)))
        except MedQAError as error:
            self.post_message(SetupEnded(failure_of(error)))
        except Exception:
            self.post_message(SetupEnded(_BROKEN))

    @work(thread=True, group="setup", exit_on_error=False)
    def _install(self, cancel: threading.Event) -> None:
        try:
            self.medqa.services.run_setup(self._settings, self._report, cancel)
        except MedQAError as error:
            stopped = cancel.is_set() or error.exit_code == ExitCode.INTERRUPTED
            self.post_message(SetupEnded(None if stopped else failure_of(error), stopped))
        except Exception:
            self.post_message(SetupEnded(_BROKEN))
        else:
            self.post_message(SetupEnded())

    def _report(self, event: SetupEvent) -> None:
        self.post_message(SetupProgress(event))

    # -- what they say --

    async def on_setup_planned(self, message: SetupPlanned) -> None:
        plan, better = message.plan, message.proposal
        self._phases = tuple(str(phase) for phase in plan.phases)
        switched = self._settings.profile != self._given
        words = better.words if better and (better.profile or not self._first) else ""
        text = _plan_text(plan, "" if switched else words)
        self.query_one("#setup-plan", Static).update(text)
        self.query_one("#setup-words", Static).update(_PRIVATE if self._first else "")
        await self.query_one(PhaseList).begin(self._phases)
        self._offer(self._given if switched else better.profile if better else "")
        # Another profile that is here already is still to be put to use.
        todo = bool(plan.phases) or switched
        self.query_one("#start", Button).disabled = not todo
        self._focus("#start" if todo else "#other" if self._other else "#quit")

    def _offer(self, profile: str) -> None:
        """Let the user choose another profile than the one that is planned."""
        self._other = profile
        other = self.query_one("#other", Button)
        other.label = Content(f"Use {profile} instead")
        other.display = bool(profile)

    async def on_setup_progress(self, message: SetupProgress) -> None:
        await self.query_one(PhaseList).show(message.event)

    def on_setup_ended(self, message: SetupEnded) -> None:
        self._show_running(False)
        failure = message.failure
        if failure is None and not message.cancelled:
            self.dismiss(self._settings.profile)
            return
        stopped = "■ Setup was stopped. What is done stays done; start again to go on."
        words = self.query_one("#setup-words", Static)
        words.update(failure_text(failure) if failure else stopped)
        words.set_class(failure is not None, "-failed")
        start = self.query_one("#start", Button)
        start.label = Content("Try again" if failure else "Go on")
        start.disabled = False
        self._focus("#start")
        self.query_one("#setup-body").scroll_end(animate=False)

    # -- what the user does --

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        match event.button.id:
            case "start":
                await self._start()
            case "cancel":
                self.action_cancel()
            case "other":
                self._switch()
            case "quit" if self._first:
                await self.app.run_action("quit")
            case "quit":
                self.action_close()

    def _switch(self) -> None:
        self._settings = self._settings.model_copy(update={"profile": self._other})
        self._offer("")
        self.query_one("#start", Button).disabled = True
        self.query_one("#setup-plan", Static).update("Looking at what is needed …")
        self._find_plan()

    def action_close(self) -> None:
        self.dismiss("")

    async def _start(self) -> None:
        self._cancel = threading.Event()
        await self.query_one(PhaseList).begin(self._phases)
        words = self.query_one("#setup-words", Static)
        words.remove_class("-failed")
        words.update("")
        self._offer("")
        self.add_class("-begun")
        self._show_running(True)
        self._install(self._cancel)

    def action_cancel(self) -> None:
        self._cancel.set()
        self.query_one("#setup-words", Static).update("Stopping …")

    def on_unmount(self) -> None:
        # However the app ends, the thread must not outlive it.
        self._cancel.set()

    def stop(self) -> None:
        """Let a running setup end; what it has done stays done."""
        self._cancel.set()

    def _show_running(self, running: bool) -> None:
        self.running = running
        self.set_class(running, "-running")
        self.refresh_bindings()
        if running:
            self._focus("#cancel")

    def _focus(self, button: str) -> None:
        # A button that was hidden takes the focus only once the styles that show it are applied.
        self.call_after_refresh(self.query_one(button, Button).focus)


def _plan_text(plan: SetupPlan, proposal: str) -> Content:
    from medqa_tui.models.catalog import HubSource, Slot

    profile = plan.profile
    rows = [
        Content.styled(one_line(profile.title), "bold"),
        Content(one_line(profile.use)),
        Content(""),
    ]
    if plan.is_empty:
        rows.append(Content("  ✓ Everything is here, and in use."))
    width = max((len(item.title) for item in plan.install), default=0)
    for item in plan.install:
        fetched = size(item.source.size) if item in plan.fetch else "already here"
        rows.append(
            Content(f"  {one_line(item.title):<{width}}  {fetched:>12}  {one_line(item.licence)}")
        )
        if item.slot is Slot.ADAPTER:
            rows.append(Content("    A community adapter: nobody here has measured its answers."))
        if isinstance(item.source, HubSource) and item.source.gated:
            rows.append(Content(f"    Accept its licence first: {one_line(item.licence_url)}"))
            rows.append(Content("    then log in here with: hf auth login"))
    if plan.fetch:
        rows.append(Content(f"  {'To download':<{width}}  {size(plan.download_bytes):>12}"))
    if plan.data_bytes:
        rows.append(Content(f"  {'Room on disk':<{width}}  {size(plan.data_bytes):>12}"))
    if proposal:
        rows += [Content(""), Content(one_line(proposal))]
    return Content("\n").join(rows)
