"""Markdown for answers: citations can be clicked, nothing else can, and a stream shows whole."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownParagraph

from medqa_tui.tui.markdown import citation_parser


class StreamedParagraph(MarkdownParagraph):
    """A paragraph that may grow again before its last growth is laid out."""

    def set_content(self, content: Content) -> None:
        """Replace the text, and forget the height of the old one.

        Textual counts two updates before one idle moment as one. If a layout falls between them,
        the height of the first stays cached, and the last line of the second is not shown.
        """
        self._layout_updates += 1
        super().set_content(content)


class AnswerMarkdown(Markdown):
    """The draft and then the answer of one turn."""

    BLOCKS = {**Markdown.BLOCKS, "paragraph_open": StreamedParagraph}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(parser_factory=citation_parser, open_links=False, classes="answer")
