"""Asks for the name that an earlier question is listed under."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.wording import snippet


class RenameScreen(ModalScreen[str | None]):
    """The new name, empty to go by the question again; None leaves it as it is."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Leave it")]  # noqa: RUF012
    AUTO_FOCUS = "#name"

    def __init__(self, question: str, name: str) -> None:
        super().__init__()
        self._question = question
        self._name_now = name

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog small") as dialog:
            dialog.border_title = "Rename"
            yield Static(snippet(self._question), markup=False, classes="rename-question")
            yield Input(self._name_now, placeholder="Empty: the question itself", id="name")
        yield Footer(show_command_palette=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)
