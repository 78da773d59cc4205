"""Earlier questions, one or two lines each."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from medqa_tui.domain import AnswerStatus
from medqa_tui.history.entry import Entry
from medqa_tui.history.facts import local_time, status_words
from medqa_tui.history.search import Hit
from medqa_tui.tui import bindings
from medqa_tui.tui.wording import one_line, plain, snippet

_PINNED = "★"
_INDENT = "  "


class EntryList(OptionList):
    """The entries; the highlighted one stays so when they are read again."""

    BINDINGS = bindings.ENTRIES  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(id="entries", markup=False, compact=True)
        self._entries: tuple[Entry, ...] = ()

    @property
    def chosen(self) -> Entry | None:
        """The highlighted entry."""
        at = self.highlighted
        return self._entries[at] if at is not None and at < len(self._entries) else None

    def show(self, found: tuple[Entry | Hit, ...]) -> None:
        """Draw the entries, those that were searched for with the place that was found."""
        chosen, at = self.chosen, self.highlighted or 0
        self._entries = tuple(each.entry if isinstance(each, Hit) else each for each in found)
        self.set_options(Option(_lines(each)) for each in found)
        ids = [entry.id for entry in self._entries]
        if chosen is not None and chosen.id in ids:
            at = ids.index(chosen.id)
        # What was deleted leaves the highlight to the one in its place.
        self.highlighted = min(at, len(ids) - 1) if ids else None


def _lines(found: Entry | Hit) -> Content:
    entry = found.entry if isinstance(found, Hit) else found
    mark = (f"{_PINNED} " if entry.pinned else _INDENT, "$text-accent")
    when = (f"{local_time(entry.asked)}  ", "$text-accent")
    # Before the words, of which a narrow screen shows the beginning.
    state = "" if entry.status is AnswerStatus.ANSWERED else f"({status_words(entry)}) "
    line = Content.assemble(mark, when, state, (snippet(entry.name, 200), "bold"))
    if not isinstance(found, Hit) or not found.snippet:
        return line
    return Content("\n").join([line, _found(found)])


def _found(hit: Hit) -> Content:
    """Return the place that was found, its words marked."""
    if one_line(hit.snippet) != hit.snippet or plain(hit.snippet) != hit.snippet:
        # What is taken out of it would put the marks in other places.
        return Content(_INDENT + one_line(hit.snippet))
    content = Content(hit.snippet)
    for start, end in hit.marks:
        content = content.stylize("bold underline", start, end)
    return Content.assemble(_INDENT, content)
