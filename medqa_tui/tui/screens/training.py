"""The trainings that are under way or ended: how far each is, and a way to stop one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList

from medqa_tui.errors import MedQAError
from medqa_tui.training.runs import RunReport, RunState
from medqa_tui.tui import bindings
from medqa_tui.tui.messages import RunsRead, StopAsked
from medqa_tui.tui.screens.confirm import ConfirmScreen
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.widgets.runs import RunDetails, RunList
from medqa_tui.tui.wording import failure_of, failure_text

if TYPE_CHECKING:
    from medqa_tui.tui.app import MedQAApp

_EVERY = 1.0


class TrainingScreen(ModalScreen[None]):
    """Reads what the trainings tell of themselves every second."""

    BINDINGS = bindings.TRAINING  # type: ignore[assignment]
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._reading = False

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Training"
            yield RunList()
            with VerticalScroll(id="run-body", can_focus=False):
                yield RunDetails()
        yield Footer(show_command_palette=False)

    @property
    def medqa(self) -> MedQAApp:
        """The app, with its type."""
        return cast("MedQAApp", self.app)

    @property
    def runs(self) -> RunList:
        """The list."""
        return self.query_one(RunList)

    def on_mount(self) -> None:
        self._look()
        self.set_interval(_EVERY, self._look)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what runs can be stopped."""
        if action != "stop" or not self.is_mounted:
            return True
        chosen = self.runs.chosen
        return chosen is not None and chosen.state is RunState.RUNNING

    # -- work, in threads: they post messages and touch no widget --

    def _look(self) -> None:
        # A slow disk is not asked again before it has answered.
        if not self._reading:
            self._reading = True
            self._read()

    @work(thread=True, group="runs", exit_on_error=False)
    def _read(self) -> None:
        try:
            runs: tuple[RunReport, ...] | None = self.medqa.services.training_runs()
        except Exception:
            # What is shown stays; the next look may do better.
            runs = None
        self.post_message(RunsRead(runs))

    @work(thread=True, group="stop", exit_on_error=False)
    def _ask_to_stop(self, run: RunReport) -> None:
        try:
            self.medqa.services.stop_training(run)
        except MedQAError as error:
            self.post_message(StopAsked(failure_of(error)))
        else:
            self.post_message(StopAsked())

    # -- what they say --

    def on_runs_read(self, message: RunsRead) -> None:
        self._reading = False
        if message.runs is None:
            return
        self.runs.show(message.runs)
        self.runs.display = bool(message.runs)
        self._draw()

    def on_stop_asked(self, message: StopAsked) -> None:
        if message.failure:
            self.notify(failure_text(message.failure), severity="error", markup=False)
        self._look()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._draw()

    def _draw(self) -> None:
        self.query_one(RunDetails).show(self.runs.chosen, self.medqa.services.now())
        self.refresh_bindings()

    # -- what the user does --

    def action_stop(self) -> None:
        """Ask, then ask the training to end."""
        run = self.runs.chosen
        if run is None or run.state is not RunState.RUNNING:
            return

        def decided(sure: bool | None) -> None:
            if sure:
                self._ask_to_stop(run)

        what = f"{run.name} ends after its step. Its checkpoint is kept: --resume goes on from it."
        self.app.push_screen(ConfirmScreen("Stop this training?", what, "Stop", "Go on"), decided)
