"""Where the user types."""

from __future__ import annotations

from textual import events
from textual.widgets import TextArea

from medqa_tui.tui import bindings
from medqa_tui.tui.messages import QuestionSubmitted
from medqa_tui.tui.wording import plain


class QuestionInput(TextArea):
    """A small editor: Enter sends, Shift+Enter or Ctrl+J breaks the line, Up recalls."""

    BINDINGS = bindings.QUESTION  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(
            id="question",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask a medical question, then press Enter",
        )
        self.cursor_blink = False
        self.border_title = "Question"
        self._asked: list[str] = []
        self._recalled: int | None = None
        self._unsent = ""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.submit()
            return
        await super()._on_key(event)

    def submit(self) -> None:
        """Send what is written, unless that is nothing."""
        text = plain(self.text)
        if text:
            self.post_message(QuestionSubmitted(text))

    def accepted(self, text: str) -> None:
        """Remember a question that was sent, and make room for the next."""
        if not self._asked or self._asked[-1] != text:
            self._asked.append(text)
        self._recalled = None
        self._unsent = ""
        self.clear()

    def action_newline(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.cursor_at_first_line and self._recall(-1):
            return
        super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.cursor_at_last_line and self._recall(1):
            return
        super().action_cursor_down(select)

    def _recall(self, step: int) -> bool:
        """Show the question `step` away in time; past the newest is what was being typed."""
        here = len(self._asked) if self._recalled is None else self._recalled
        there = here + step
        if not 0 <= there <= len(self._asked):
            return False
        if self._recalled is None:
            self._unsent = self.text
        self._recalled = there if there < len(self._asked) else None
        self.text = self._unsent if self._recalled is None else self._asked[there]
        self.move_cursor(self.document.end)
        return True
