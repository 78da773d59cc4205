"""Red-flag advice, above everything else and with words, not colour, saying so."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from medqa_tui.domain import Triage, TriageLevel
from medqa_tui.tui.wording import alert_title, plain


class EmergencyPanel(VerticalScroll, can_focus=True):
    """Stays on the screen, whatever is scrolled, until the next question."""

    def __init__(self) -> None:
        super().__init__(id="emergency")
        self.display = False

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="emergency-advice")

    def show(self, triage: Triage) -> None:
        """Put the advice up, loudly."""
        self.border_title = alert_title(triage.level)
        self.query_one("#emergency-advice", Static).update(plain(triage.advice))
        self.set_class(triage.level is TriageLevel.URGENT, "-urgent")
        self.display = True
        self.scroll_home(animate=False)

    def clear(self) -> None:
        """Take the advice down; the conversation keeps a copy."""
        self.display = False
