"""The line at the bottom: which models, where, what they are doing, how fast."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import reactive
from textual.widgets import Static

from medqa_tui.tui.wording import one_line


class StatusLine(Horizontal):
    """Words on the left, numbers on the right."""

    profile: reactive[str] = reactive("")
    device: reactive[str] = reactive("")
    doing: reactive[str] = reactive("Starting")
    speed: reactive[float | None] = reactive[float | None](None)
    elapsed: reactive[float | None] = reactive[float | None](None)

    def __init__(self) -> None:
        super().__init__(id="status")

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="status-doing")
        yield Static("", markup=False, id="status-numbers")

    def _watch(self) -> None:
        if not self.is_mounted:
            return
        words = (self.profile, self.device, self.doing)
        left = " │ ".join(one_line(word) for word in words if word)
        numbers = [] if self.speed is None else [f"{self.speed:.1f} tokens/s"]
        numbers += [] if self.elapsed is None else [f"{self.elapsed:.0f} s"]
        self.query_one("#status-doing", Static).update(left)
        self.query_one("#status-numbers", Static).update(" │ ".join(numbers))

    def on_mount(self) -> None:
        for name in ("profile", "device", "doing", "speed", "elapsed"):
            self.watch(self, name, self._watch)
