"""Earlier questions: listed, searched, opened, renamed, pinned, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static

from medqa_tui.domain import Failure
from medqa_tui.errors import MedQAError
from medqa_tui.tui import bindings
from medqa_tui.tui.messages import EntryRead, HistoryChanged, HistoryFailed, HistoryFound
from medqa_tui.tui.screens.confirm import ConfirmScreen
from medqa_tui.tui.screens.entry import EntryScreen
from medqa_tui.tui.screens.rename import RenameScreen
from medqa_tui.tui.widgets.disclaimer import DisclaimerBanner
from medqa_tui.tui.widgets.entries import EntryList
from medqa_tui.tui.wording import failure_of, failure_text, one_line, snippet

if TYPE_CHECKING:
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.tui.app import MedQAApp

SHOWN = 200
_BROKEN = Failure(
    "The history cannot be shown.", "An error inside the program.", "medqa-tui doctor"
)
_EMPTY = "The history is empty: what you ask is kept here, on this machine only."
_OFF = "History is off: nothing you ask is kept. medqa-tui config set history.enabled true"


class HistoryScreen(ModalScreen[None]):
    """Every change is made in the file at once, and what is shown is read from there again."""

    BINDINGS = bindings.HISTORY  # type: ignore[assignment]
    AUTO_FOCUS = "#entries"

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self._enabled = enabled
        self._store: HistoryStore | None = None

    def compose(self) -> ComposeResult:
        yield DisclaimerBanner()
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "History"
            yield Input(placeholder="Search: words, or a phrase in quotes", id="words")
            yield Static("", markup=False, id="history-note")
            yield EntryList()
        yield Footer(show_command_palette=False)

    @property
    def medqa(self) -> MedQAApp:
        """The app, with its type."""
        return cast("MedQAApp", self.app)

    @property
    def entries(self) -> EntryList:
        """The list."""
        return self.query_one(EntryList)

    @property
    def words(self) -> str:
        """What is searched for."""
        return self.query_one("#words", Input).value

    def on_mount(self) -> None:
        # Opened by whoever comes first of the threads; it opens its file when it is used.
        self._store = self.medqa.services.history(self.medqa.tell_later)
        self._look()

    def on_unmount(self) -> None:
        if self._store is not None:
            self._store.close()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While somebody types, a letter is a letter; and only an entry can be changed."""
        if action not in {"search", "rename", "pin", "delete"} or not self.is_mounted:
            return True
        return self.entries.has_focus and (action == "search" or self.entries.chosen is not None)

    # -- work, in threads: they post messages and touch no widget --

    @work(thread=True, group="history", exit_on_error=False)
    def _do(self, work: Callable[[HistoryStore], Message]) -> None:
        try:
            assert self._store is not None
            self.post_message(work(self._store))
        except MedQAError as error:
            self.post_message(HistoryFailed(failure_of(error)))
        except Exception:
            self.post_message(HistoryFailed(_BROKEN))

    def _look(self) -> None:
        words = self.words

        def find(store: HistoryStore) -> Message:
            if not any(letter.isalnum() for letter in words):
                return HistoryFound(words, store.list(SHOWN), store.count())
            found = store.search(_unfinished(words), SHOWN)
            return HistoryFound(words, found.hits, found.total, found.all_words)

        self._do(find)

    # -- what they say --

    def on_history_found(self, message: HistoryFound) -> None:
        if message.words != self.words:
            return
        self.entries.show(message.found)
        self.query_one("#history-note", Static).update(self._note(message))
        self.refresh_bindings()

    def _note(self, message: HistoryFound) -> str:
        searched = any(letter.isalnum() for letter in message.words)
        shown, parts = len(message.found), []
        if not shown:
            parts = ["Nothing holds these words." if searched else _EMPTY]
        elif not message.all_words:
            parts = ["Nothing holds all of it; these hold some of the words."]
        elif message.total > shown:
            parts = [f"{shown} of {message.total} are shown; search for the others."]
        if not self._enabled and not searched:
            parts = [_OFF]
        return " ".join(parts)

    def on_history_changed(self, _message: HistoryChanged) -> None:
        self._look()

    def on_entry_read(self, message: EntryRead) -> None:
        if message.entry is None:
            self.notify("It is not there any more.", markup=False)
            self._look()
        else:
            self.app.push_screen(EntryScreen(message.entry))

    def on_history_failed(self, message: HistoryFailed) -> None:
        self.notify(failure_text(message.failure), severity="error", markup=False)

    # -- what the user does --

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.entries.focus()

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        entry = self.entries.chosen
        if entry is not None:
            id = entry.id
            self._do(lambda store: EntryRead(store.get(id)))

    def action_search(self) -> None:
        # At once: a widget's own `focus` comes after the next key, which may mean something here.
        self.set_focus(self.query_one("#words", Input))

    def action_back(self) -> None:
        """Out of the search, then out of what was searched for, then out of here."""
        words = self.query_one("#words", Input)
        if words.has_focus:
            self.entries.focus()
        elif words.value:
            words.value = ""
        else:
            self.dismiss()

    def action_rename(self) -> None:
        entry = self.entries.chosen
        if entry is None:
            return
        id = entry.id

        def named(title: str | None) -> None:
            if title is not None:
                self._do(lambda store: _changed(store.rename(id, title)))

        self.app.push_screen(RenameScreen(entry.question, one_line(entry.title)), named)

    def action_pin(self) -> None:
        entry = self.entries.chosen
        if entry is not None:
            id, pinned = entry.id, not entry.pinned
            self._do(lambda store: _changed(store.pin([id], pinned)))

    def action_delete(self) -> None:
        """Ask, then delete for good."""
        entry = self.entries.chosen
        if entry is None:
            return
        id = entry.id

        def decided(sure: bool | None) -> None:
            if sure:
                self._do(lambda store: _changed(store.delete(id)))

        what = f"{snippet(entry.name)} It is overwritten on the disk and cannot be had back."
        self.app.push_screen(ConfirmScreen("Delete for good?", what, "Delete", "Keep"), decided)


def _changed(_done: object) -> HistoryChanged:
    return HistoryChanged()


def _unfinished(words: str) -> str:
    """Return what is typed so far, the last word with any ending."""
    open_phrase = words.count('"') % 2
    return words if open_phrase or not words[-1:].isalnum() else f"{words}*"
