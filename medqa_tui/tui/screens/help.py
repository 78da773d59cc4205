"""What every key does."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from medqa_tui.tui.bindings import HELP
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner

_KEYS = 24


class HelpScreen(ModalScreen[None]):
    """The keys, in groups, and the marks that answers carry."""

    BINDINGS = [Binding("escape,q,f1,question_mark", "dismiss", "Close")]  # noqa: RUF012
    AUTO_FOCUS = "#help-text"

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Keys"
            with VerticalScroll(id="help-text", can_focus=True):
                for group in HELP:
                    yield Static(group.title, markup=False, classes="help-title")
                    rows = [
                        Content.assemble((f"{keys:<{_KEYS}}", "bold $text-accent"), what)
                        for keys, what in group.keys
                    ]
                    yield Static(Content("\n").join(rows), classes="help-rows")
                yield Static("Marks", markup=False, classes="help-title")
                yield Static(_MARKS, markup=False, classes="help-rows")
        yield Footer(show_command_palette=False)


_MARKS = (
    "✓  the sentence stands in the passage it cites\n"
    "≈  only part of it does; read the passage\n"
    "○  it was not checked\n"
    "◆  something you should know: a fall to another generator, a sentence left out"
)
