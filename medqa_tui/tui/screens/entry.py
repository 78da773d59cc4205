"""One earlier question with its answer, as the conversation showed it, and its evidence."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from medqa_tui.domain import Answer, AnswerStatus, Triage
from medqa_tui.history.entry import Entry, Progress
from medqa_tui.history.facts import facts
from medqa_tui.safety.disclaimer import DISCLAIMER
from medqa_tui.tui import bindings
from medqa_tui.tui.messages import CitationSelected
from medqa_tui.tui.screens.passage import PassageScreen
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.widgets.turn import TurnView
from medqa_tui.tui.wording import one_line, plain_answer

_NOT_WHOLE = {
    Progress.RUNNING: "It is still being answered.",
    Progress.INTERRUPTED: "It broke off; what had been checked by then is kept.",
}
_OTHER_VERSION = "Only its text can be shown: another version of the program wrote the rest."


class EntryScreen(ModalScreen[None]):
    """Shows an entry, read with its whole answer; the keys 1 to 9 open its passages."""

    BINDINGS = bindings.ENTRY  # type: ignore[assignment]
    AUTO_FOCUS = "#entry"

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self._entry = entry
        self._answer = entry.answer or _rest(entry)

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = one_line(self._entry.title) or "Earlier question"
            with VerticalScroll(id="entry", can_focus=True):
                yield TurnView(self._entry.turn, self._entry.question)
                yield Static(_facts(self._entry), markup=False, id="entry-facts")
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        view = self.query_one(TurnView)
        entry = self._entry
        if entry.advice:
            view.show_advice(Triage(entry.triage, (), entry.advice))
            view.add_class("-past")
        await view.finish(self._answer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without evidence there is no passage to open."""
        return bool(self._answer.evidence) if action == "cite" else True

    def on_citation_selected(self, message: CitationSelected) -> None:
        message.stop()
        self.action_cite(message.n)

    def action_cite(self, n: int) -> None:
        """Open passage `n`; 0 is the first there is."""
        evidence = self._answer.evidence
        numbers = [item.n for item in evidence]
        if n == 0 and numbers:
            n = numbers[0]
        if n in numbers:
            self.app.push_screen(PassageScreen(evidence, n, self._answer.query or ""))
        else:
            self.notify(f"There is no passage {n}.", markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(plain_answer(self._answer))
        self.notify("Copied: the answer, its sources and the disclaimer.", markup=False)


def _rest(entry: Entry) -> Answer:
    """Return what can be shown of an entry whose whole answer is not there."""
    words = _OTHER_VERSION
    if isinstance(entry.status, Progress):
        words = _NOT_WHOLE[entry.status]
    return Answer(
        entry.question,
        AnswerStatus.ANSWERED,
        entry.text,
        disclaimer=DISCLAIMER,
        notices=(words,),
    )


def _facts(entry: Entry) -> str:
    return "\n".join(f"{label:<13}{one_line(value)}" for label, value in facts(entry)[:2])
