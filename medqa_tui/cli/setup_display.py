"""The phases of setup as they pass, on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from medqa_tui.cli import diagnostics

if TYPE_CHECKING:
    from medqa_tui.setup.events import SetupEvent


class SetupDisplay:
    """Shows each phase on the status line while it runs, and as a line of its own once it ends."""

    def __init__(self) -> None:
        self._line = diagnostics.StatusLine()

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.__exit__(kind, error, trace)

    def show(self, event: SetupEvent) -> None:
        """Show one event of `setup.runner`."""
        name = event.phase.value.capitalize()
        text = f"{name}: {event.message}" if event.message else name
        match event.state.value:
            case "started" | "progress":
                part = event.done / event.total if event.total and event.done is not None else None
                amount = diagnostics.amount(event.done, event.total, event.unit)
                self._line.show(text, part, amount)
            case "done":
                self._line.pause()
                diagnostics.note(text if event.message else f"{name}: done")
            case "skipped":
                diagnostics.detail(text)
            case "failed":
                # The error itself follows and says more.
                self._line.pause()
                diagnostics.detail(text)
