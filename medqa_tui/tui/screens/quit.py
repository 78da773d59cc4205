"""Asked only while something runs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner


class QuitScreen(ModalScreen[bool]):
    """True if the user wants to leave although `what` is going on."""

    BINDINGS = [  # noqa: RUF012
        Binding("y", "dismiss(True)", "Quit"),
        Binding("escape,n", "dismiss(False)", "Stay"),
    ]
    AUTO_FOCUS = "#stay"

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog small") as dialog:
            dialog.border_title = "Quit?"
            yield Static(self._what, markup=False, id="quit-what")
            with Horizontal(classes="buttons"):
                yield Button("Quit (y)", id="quit", variant="error", compact=True)
                yield Button("Stay (n)", id="stay", variant="primary", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "quit")
