"""The phases of setup, each with its mark, its bar and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import ProgressBar, Static

from medqa_tui.tui.wording import one_line, size

if TYPE_CHECKING:
    from medqa_tui.setup.events import SetupEvent

# By value, so that nothing of setup is imported before it is asked for.
_MARKS = {"started": "▶", "progress": "▶", "done": "✓", "skipped": "–", "failed": "✗"}
_WAITING = "○"
_NAMES = {
    "preflight": "Check this machine",
    "download": "Download",
    "verify": "Verify",
    "quantize": "Quantize",
    "ingest": "Read the corpus",
    "index": "Build the index",
    "self-test": "Self-test",
    "activate": "Activate",
}


class PhaseRow(Horizontal):
    """One phase."""

    def __init__(self, phase: str) -> None:
        super().__init__(classes="phase")
        self.phase = phase

    def compose(self) -> ComposeResult:
        name = _NAMES.get(self.phase, self.phase)
        yield Static(f"{_WAITING} {name}", markup=False, classes="phase-name")
        yield ProgressBar(total=1, show_eta=False, classes="phase-bar")
        yield Static("", markup=False, classes="phase-words")

    def show(self, event: SetupEvent) -> None:
        """Draw where the phase is."""
        name = _NAMES.get(self.phase, self.phase)
        mark = _MARKS.get(event.state, _WAITING)
        self.query_one(".phase-name", Static).update(f"{mark} {name}")
        bar = self.query_one(ProgressBar)
        if event.state in ("done", "skipped"):
            bar.update(total=1, progress=1)
        elif event.total and event.done is not None:
            bar.update(total=event.total, progress=event.done)
        words = one_line(event.message)
        amount = _amount(event)
        self.query_one(".phase-words", Static).update(" · ".join(x for x in (amount, words) if x))
        self.set_class(event.state == "failed", "-failed")
        self.set_class(event.state in ("started", "progress"), "-working")


class PhaseList(Vertical):
    """Every phase that will run; one that was not announced gets its row when it speaks."""

    async def begin(self, phases: tuple[str, ...]) -> None:
        """Show the phases, none of them begun."""
        async with self.batch():
            await self.query(PhaseRow).remove()
            await self.mount_all(PhaseRow(phase) for phase in phases)

    async def show(self, event: SetupEvent) -> None:
        """Draw an event at its phase."""
        row = next((row for row in self.query(PhaseRow) if row.phase == event.phase), None)
        if row is None:
            row = PhaseRow(str(event.phase))
            await self.mount(row)
        row.show(event)


def _amount(event: SetupEvent) -> str:
    if event.state != "progress" or event.done is None or not event.total:
        return ""
    match event.unit:
        case "bytes":
            return f"{size(int(event.done))} of {size(int(event.total))}"
        case "percent" | "":
            return ""
        case unit:
            return f"{event.done:.0f} of {event.total:.0f} {unit}"
