"""One exchange of the conversation: the question, what happens, the draft, the checked answer."""

from __future__ import annotations

from collections import Counter

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown, Static
from textual.widgets.markdown import MarkdownStream

from medqa_tui.domain import Answer, AnswerStatus, Evidence, Sentence, Support, Triage
from medqa_tui.events import EvidenceFound
from medqa_tui.tui.markdown import CITE
from medqa_tui.tui.messages import CitationSelected
from medqa_tui.tui.widgets.answer import AnswerMarkdown
from medqa_tui.tui.wording import (
    SUPPORT_MARKS,
    SUPPORT_WORDS,
    alert_title,
    answer_markdown,
    cited_numbers,
    closed_book_line,
    confidence_line,
    one_line,
    outcome,
    plain,
    source_line,
    speaker,
    support_summary,
)


class SourceLine(Static):
    """A source under an answer; a click goes to its passage."""

    def __init__(self, turn: str, evidence: Evidence) -> None:
        super().__init__(source_line(evidence), markup=False, classes="source")
        self._selected = (turn, evidence.n)

    def on_click(self) -> None:
        self.post_message(CitationSelected(*self._selected))


class TurnView(Vertical):
    """Draws the events of one answer as they come. Its parts appear in reading order."""

    def __init__(self, turn: str, question: str) -> None:
        super().__init__(classes="turn")
        self.turn = turn
        self.question = question
        self.found: EvidenceFound | None = None
        self.answer: Answer | None = None
        self._stream: MarkdownStream | None = None
        self._draft = ""
        self._checked: Counter[Support] = Counter()

    def compose(self) -> ComposeResult:
        yield Static(Content(f"❯ {plain(self.question)}"), classes="question")
        yield Static("", markup=False, classes="advice")
        for name in ("query", "badges", "doing", "draft-label"):
            yield _line(name)
        yield AnswerMarkdown()
        for name in ("outcome", "support", "sources-title"):
            yield _line(name)

    # -- what happens, in the order in which it can --

    def show_advice(self, triage: Triage) -> None:
        """Keep a copy of the advice; it is shown once the panel has moved on."""
        words = f"{alert_title(triage.level)}\n{plain(triage.advice)}"
        self.query_one(".advice", Static).update(words)
        self.add_class("-advised")

    def show_doing(self, message: str) -> None:
        """Say what the program does for this question now."""
        self._say("doing", f"… {one_line(message)}" if message else "")

    def show_evidence(self, found: EvidenceFound) -> None:
        """Keep what was found, and say what was searched for where it is not the question."""
        self.found = found
        if one_line(found.query) != one_line(self.question):
            self._say("query", f"↳ Searched for: {one_line(found.query)}")
        count = len(found.evidence)
        passages = f"{count} passage" + ("" if count == 1 else "s")
        self.show_doing(f"{passages} found" + (", provisional" if found.provisional else ""))

    async def show_token(self, text: str) -> None:
        """Add a piece of the draft."""
        if self._stream is None:
            self.add_class("-draft")
            self.show_doing("")
            self._label_draft()
            self._stream = Markdown.get_stream(self._markdown)
        self._draft += text
        await self._stream.write(text)

    def show_checked(self, sentence: Sentence) -> None:
        """Count a checked sentence of the draft."""
        self._checked[sentence.support] += 1
        self._label_draft()

    async def drop_draft(self, reason: str) -> None:
        """Withdraw the draft so far."""
        await self._end_stream()
        self._draft = ""
        self._say("draft-label", "")
        await self._markdown.update("")
        self.show_notice(f"Draft withdrawn: {reason}")

    def show_notice(self, message: str) -> None:
        """Add a badge, once."""
        badge = f"◆ {one_line(message)}"
        label = self.query_one(".badges", Static)
        said = [line for line in str(label.content).splitlines() if line]
        if badge not in said and f"◆ Draft withdrawn: {one_line(message)}" not in said:
            self._say("badges", "\n".join([*said, badge]))

    async def finish(self, answer: Answer) -> None:
        """Replace the draft by the checked answer, and say how sure it is and where it is from."""
        await self._end_stream()
        self.answer = answer
        self.show_doing("")
        for notice in answer.notices:
            self.show_notice(notice)
        text = answer_markdown(answer)
        unchecked = not text and bool(self._draft) and answer.status is not AnswerStatus.ABSTAINED
        self.set_class(unchecked, "-draft")
        self._say("draft-label", "Draft, not checked" if unchecked else "")
        # One whole update: text after an unclosed fence can be lost by a stream.
        await self._markdown.update(self._draft if unchecked else text)
        self._say("outcome", outcome(answer))
        self.query_one(".outcome").set_class(answer.failure is not None, "-failed")
        self._say("support", _support_lines(answer))
        await self._show_sources(answer)

    # -- parts --

    @property
    def _markdown(self) -> AnswerMarkdown:
        return self.query_one(AnswerMarkdown)

    def _say(self, name: str, text: str) -> None:
        line = self.query_one(f".{name}", Static)
        line.update(text)
        line.display = bool(text)

    def _label_draft(self) -> None:
        counts = [
            f"{SUPPORT_MARKS[support]} {count} {SUPPORT_WORDS[support]}"
            for support in Support
            if (count := self._checked[support])
        ]
        # Nothing is searched before a draft from memory, and nothing in it can be checked.
        kind = "Draft, being checked" if self.found else "Draft from memory, not checked"
        self._say("draft-label", " · ".join([kind, *counts]))

    async def _end_stream(self) -> None:
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None

    async def _show_sources(self, answer: Answer) -> None:
        cited = cited_numbers(answer)
        items = [item for item in answer.evidence if item.n in cited]
        self._say("sources-title", "Sources" if items else "")
        await self.mount_all(SourceLine(self.turn, item) for item in items)

    async def on_unmount(self) -> None:
        await self._end_stream()

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        if event.href.startswith(CITE):
            self.post_message(CitationSelected(self.turn, int(event.href.removeprefix(CITE))))


def _support_lines(answer: Answer) -> str:
    if not answer.sentences:
        return ""
    lines = (
        closed_book_line(answer),
        support_summary(answer.sentences),
        confidence_line(answer.confidence),
        speaker(answer.model),
    )
    return "\n".join(line for line in lines if line)


def _line(name: str) -> Static:
    line = Static("", markup=False, classes=name)
    line.display = False
    return line
