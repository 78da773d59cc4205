"""A question with two answers, before something that cannot be taken back."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.wording import one_line


class ConfirmScreen(ModalScreen[bool]):
    """True if the user says yes; the answer that changes nothing has the focus."""

    BINDINGS = [  # noqa: RUF012
        Binding("y", "dismiss(True)", "Yes"),
        Binding("escape,n", "dismiss(False)", "No"),
    ]
    AUTO_FOCUS = "#no"

    def __init__(self, title: str, what: str, yes: str, no: str) -> None:
        super().__init__()
        self._title = title
        self._what = what
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog small") as dialog:
            dialog.border_title = self._title
            yield Static(one_line(self._what), markup=False, id="confirm-what")
            with Horizontal(classes="buttons"):
                yield Button(f"{self._yes} (y)", id="yes", variant="error", compact=True)
                yield Button(f"{self._no} (n)", id="no", variant="primary", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "yes")
