"""The disclaimer: docked on every screen, and nothing takes it away."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from medqa_tui.safety.disclaimer import DISCLAIMER, DISCLAIMER_SHORT


class DisclaimerBanner(Static):
    """One line that says what this program is not; the shorter wording where the line is short."""

    def render(self) -> Content:
        fits = self.container_size.width >= len(DISCLAIMER)
        return Content(DISCLAIMER if fits else DISCLAIMER_SHORT)
