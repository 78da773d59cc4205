"""One passage, whole, with everything known about where it is from."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from medqa_tui.domain import Evidence
from medqa_tui.tui import bindings
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.wording import matched_line, one_line, plain, score_line, source_line


class PassageScreen(ModalScreen[None]):
    """Shows passage `n` of `passages`; left and right go to its neighbours."""

    BINDINGS = bindings.PASSAGE  # type: ignore[assignment]
    AUTO_FOCUS = "#passage-text"

    def __init__(self, passages: tuple[Evidence, ...], n: int, query: str = "") -> None:
        super().__init__()
        self._passages = passages
        self._query = query
        self._at = next(i for i, item in enumerate(passages) if item.n == n)

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog"):
            with VerticalScroll(id="passage-text", can_focus=True):
                yield Static(markup=False, classes="passage-body")
            yield Static(markup=False, classes="passage-origin")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._draw()

    @property
    def _evidence(self) -> Evidence:
        return self._passages[self._at]

    def _draw(self) -> None:
        passage = self._evidence.passage
        dialog = self.query_one(".dialog", Vertical)
        dialog.border_title = Content(f"Passage {self._evidence.n} of {len(self._passages)}")
        parts = [Content.styled(one_line(passage.title), "bold")]
        question = one_line(passage.question)
        parts += [Content.styled(question, "italic")] if question else []
        parts.append(Content(plain(passage.text)))
        self.query_one(".passage-body", Static).update(Content("\n\n").join(parts))
        rows = (
            ("Source", passage.source),
            ("Address", passage.url),
            ("Licence", passage.licence),
            ("Date", passage.date),
            ("Revision", passage.revision),
            ("Id", passage.id),
            ("Scores", score_line(self._evidence.scores)),
            ("Matched", matched_line(self._query, passage)),
        )
        known = [f"{name:<8} {one_line(value)}" for name, value in rows if value]
        self.query_one(".passage-origin", Static).update("\n".join(known))
        self.query_one("#passage-text").scroll_home(animate=False)

    def action_step(self, step: int) -> None:
        if 0 <= self._at + step < len(self._passages):
            self._at += step
            self._draw()

    def action_copy(self) -> None:
        text = plain(self._evidence.passage.text)
        self.app.copy_to_clipboard(f"{text}\n\n{source_line(self._evidence)}")
        self.notify("Copied: the passage and its source.", markup=False)
