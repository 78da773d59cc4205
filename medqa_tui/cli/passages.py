"""How a passage is named in one line."""

from __future__ import annotations

from medqa_tui.domain import Evidence, Passage


def source_line(evidence: Evidence) -> str:
    """Return one line that names the evidence: its number, title and source."""
    passage = evidence.passage
    return f"[{evidence.n}] {passage_title(passage)} - {passage.source or passage.corpus}"


def passage_title(passage: Passage) -> str:
    """Return the passage's title, with the question it answers where it has one."""
    question = passage.question
    if question and passage.title and passage.title.casefold() not in question.casefold():
        return f"{passage.title}: {question}"
    return question or passage.title


def text_of(passage: Passage) -> str:
    """Return everything of a passage that its reader sees."""
    return "\n".join(part for part in (passage.title, passage.question, passage.text) if part)
