"""The turns so far; it follows the newest text until the user scrolls away."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from medqa_tui.domain import Turn
from medqa_tui.tui.messages import QuestionSubmitted
from medqa_tui.tui.widgets.turn import TurnView

_EXAMPLES = (
    "What are the symptoms of type 2 diabetes?",
    "How is high blood pressure treated?",
    "What are the warning signs of a stroke?",
)
_KEPT = (
    "Your questions and answers are kept on this machine only.\n"
    "Turn this off: medqa-tui config set history.enabled false"
)
_NOT_KEPT = "History is off: nothing you ask is kept."


class Welcome(Vertical):
    """What an empty conversation shows."""

    def compose(self) -> ComposeResult:
        yield Static("Ask a medical question", classes="welcome-title", markup=False)
        yield Static(
            "Answers come from the passages beside them, sentence by sentence, on your own"
            " machine. For example:",
            markup=False,
        )
        # The numbers and symbols of a question are never markup.
        yield OptionList(*(Option(text) for text in _EXAMPLES), markup=False, compact=True)
        yield Static("", markup=False, classes="welcome-history")

    def show_history(self, enabled: bool) -> None:
        """Say whether what is asked is kept."""
        self.query_one(".welcome-history", Static).update(_KEPT if enabled else _NOT_KEPT)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(QuestionSubmitted(str(event.option.prompt)))


class Conversation(VerticalScroll, can_focus=True):
    """The answer pane."""

    def __init__(self) -> None:
        super().__init__(id="conversation")
        self.keeps_history: bool | None = None

    def compose(self) -> ComposeResult:
        # At least as high as the pane: an anchored pane would push less than that to its bottom.
        with Vertical(id="turns"):
            yield Static("", markup=False, id="trouble")
            yield Welcome()

    def on_mount(self) -> None:
        self.anchor()

    @property
    def _turns(self) -> Vertical:
        return self.query_one("#turns", Vertical)

    @property
    def turns(self) -> list[TurnView]:
        """The turns on the screen, oldest first."""
        return list(self.query(TurnView))

    @property
    def context(self) -> tuple[Turn, ...]:
        """The turns that told something, as the next question's context."""
        return tuple(
            Turn(view.question, view.answer.text)
            for view in self.turns
            if view.answer and view.answer.is_context
        )

    def turn(self, turn: str) -> TurnView | None:
        """Return the view of that turn, if it is still on the screen."""
        return next((view for view in self.turns if view.turn == turn), None)

    def show_history(self, enabled: bool) -> None:
        """Say in the welcome whether what is asked is kept."""
        self.keeps_history = enabled
        for welcome in self.query(Welcome):
            welcome.show_history(enabled)

    def show_trouble(self, text: str) -> None:
        """Say at the top what keeps the program from answering; an empty text takes it away."""
        trouble = self.query_one("#trouble", Static)
        trouble.update(text)
        trouble.set_class(bool(text), "-told")

    async def start(self, turn: str, question: str) -> TurnView:
        """Add a turn and follow it."""
        await self.query(Welcome).remove()
        view = TurnView(turn, question)
        await self._turns.mount(view)
        self.anchor()
        return view

    async def reset(self) -> None:
        """Forget the turns on the screen."""
        async with self.batch():
            await self.query(TurnView).remove()
            await self.query(Welcome).remove()
            await self._turns.mount(Welcome())
        if self.keeps_history is not None:
            self.show_history(self.keeps_history)
