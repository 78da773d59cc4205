"""Asked only while something runs."""

from __future__ import annotations

from medqa_tui.tui.screens.confirm import ConfirmScreen


class QuitScreen(ConfirmScreen):
    """True if the user wants to leave although `what` is going on."""

    def __init__(self, what: str) -> None:
        super().__init__("Quit?", what, "Quit", "Stay")
