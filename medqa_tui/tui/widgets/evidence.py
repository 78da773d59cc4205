"""The evidence beside the answer: one card a passage, there before the first token."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from medqa_tui.domain import Evidence
from medqa_tui.events import EvidenceFound
from medqa_tui.tui import bindings
from medqa_tui.tui.messages import PassageOpened
from medqa_tui.tui.wording import matched_line, one_line, plain, score_line, snippet

_EMPTY = "The passages that an answer stands on appear here, before the answer."


class EvidenceCard(Vertical, can_focus=True):
    """One numbered passage, folded to its beginning or whole."""

    BINDINGS = bindings.CARD  # type: ignore[assignment]

    def __init__(self, evidence: Evidence, query: str = "") -> None:
        super().__init__()
        self.evidence = evidence
        self.query_text = query
        self.expanded = False

    def compose(self) -> ComposeResult:
        passage = self.evidence.passage
        title, question = one_line(passage.title), one_line(passage.question)
        number = (f"[{self.evidence.n}] ", "bold $text-accent")
        yield Static(Content.assemble(number, (title, "bold")), classes="card-line")
        if question and question != title:
            yield Static(Content(question), classes="card-line card-question")
        yield Static(self._text(), classes="card-text")
        origin = (
            one_line(passage.source),
            one_line(passage.url),
            one_line(" · ".join(passage.terms)),
            score_line(self.evidence.scores),
        )
        for line in origin:
            if line:
                yield Static(Content(line), classes="card-line card-origin")
        if matched := matched_line(self.query_text, passage):
            yield Static(Content(f"Matched: {matched}"), classes="card-origin card-matched")

    def _text(self) -> Content:
        text = self.evidence.passage.text
        return Content(f"▾ {plain(text)}" if self.expanded else f"▸ {snippet(text)}")

    def unfold(self, expanded: bool) -> None:
        """Show the whole passage, or only its beginning and each line of its origin cut short."""
        self.expanded = expanded
        self.set_class(expanded, "-expanded")
        self.query_one(".card-text", Static).update(self._text())

    def on_click(self, event: events.Click) -> None:
        if event.chain > 1:
            self.action_open()
        else:
            self.action_fold()

    def action_fold(self) -> None:
        self.unfold(not self.expanded)

    def action_open(self) -> None:
        self.post_message(PassageOpened(self.evidence))

    def action_move(self, step: int) -> None:
        siblings = list(self.screen.query(EvidenceCard))
        there = siblings.index(self) + step
        if 0 <= there < len(siblings):
            siblings[there].focus()


class EvidencePanel(VerticalScroll, can_focus=False):
    """The passages of one answer; `turn` says of which, `searched` what was looked for."""

    def __init__(self) -> None:
        super().__init__(id="evidence")
        self.border_title = "Evidence"
        self.turn = ""
        self.searched = ""

    def compose(self) -> ComposeResult:
        yield Static(_EMPTY, markup=False, id="evidence-note")

    @property
    def cards(self) -> list[EvidenceCard]:
        """The cards in the order of their numbers."""
        return list(self.query(EvidenceCard))

    async def show(self, turn: str, found: EvidenceFound | None) -> None:
        """Fill the panel with what was found for `turn`, keeping the place of the focus."""
        focused = self.screen.focused
        at = focused.evidence.n if isinstance(focused, EvidenceCard) else None
        self.turn = turn
        self.searched = found.query if found else ""
        evidence = found.evidence if found else ()
        self.border_title = _title(found)
        self.border_subtitle = "1-9 go · Enter expand · o open" if evidence else ""
        note = self.query_one("#evidence-note", Static)
        note.update(_note(found))
        note.display = bool(_note(found))
        async with self.batch():
            await self.query(EvidenceCard).remove()
            await self.mount_all(EvidenceCard(item, self.searched) for item in evidence)
        if at is not None:
            self.focus_card(at, expand=False)

    def focus_card(self, n: int, expand: bool = True) -> bool:
        """Go to passage `n`; return whether there is one."""
        for card in self.cards:
            if card.evidence.n == n:
                card.unfold(expand or card.expanded)
                card.focus()
                card.scroll_visible(animate=False, top=True)
                return True
        return False


def _title(found: EvidenceFound | None) -> str:
    if found is None:
        return "Evidence"
    return f"Evidence ({len(found.evidence)})" + (" · provisional" if found.provisional else "")


def _note(found: EvidenceFound | None) -> str:
    if found is None:
        return _EMPTY
    if not found.evidence:
        return "No passage was found for this question."
    if not found.relevant:
        return "– Nothing here is near enough to the question to answer from."
    if found.provisional:
        return "Provisional: found by words alone; meaning is still being searched."
    return ""
