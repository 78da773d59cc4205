"""A passage as it is stored and indexed: what is shown, and the words that only help to find it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from medqa_tui.domain import Passage

KEPT_WITHOUT = "kept without"
"""How the reason of a row begins that is in a corpus, but for a part that cannot be used."""

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


@dataclass(frozen=True, slots=True)
class PassageRecord:
    """A passage and its other phrasings, which are searched but never shown."""

    passage: Passage
    phrasings: tuple[str, ...] = ()

    @property
    def lexical_text(self) -> str:
        """Everything that the lexical arm searches, one part a line."""
        passage = self.passage
        parts = (passage.title, passage.question or "", *self.phrasings, passage.text)
        # A question that is its own title counts once.
        return "\n".join(part for part in dict.fromkeys(parts) if part)

    @property
    def dense_texts(self) -> tuple[str, ...]:
        """The texts that are embedded, each its own vector; the nearest one stands for the passage.

        The best of several views stands for the whole (MaxP: Dai and Callan, SIGIR 2019). The
        first is the question with its answer; each other phrasing is one more. A view of the
        question alone added nothing.
        """
        passage = self.passage
        heading = passage.question or passage.title
        joint = f"{heading}\n{passage.text}" if heading else passage.text
        return tuple(dict.fromkeys((joint, *self.phrasings)))

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) over every stored field."""
        passage = self.passage
        fields = (
            passage.id,
            passage.corpus,
            passage.document,
            passage.title,
            passage.question,
            passage.text,
            passage.source,
            passage.url,
            passage.licence,
            passage.date,
            list(self.phrasings),
        )
        return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """What is known of a corpus as a whole.

    Attributes:
        licence: Licence of its text.
        attribution: Whom to name, as the licence asks.
        revision: The source's own version, or a hash of its files.
        date: ISO date of that revision.
        fingerprint: Hash over all passages in order; set by the store.
        passages: How many passages it has; set by the store.
        documents: How many documents they are cut from; set by the store.
        origin: What it was read from and how, as JSON; empty for what ships.
        left_out: Rows that are not in it, by reason; also those that are, but for a part of them.
        updated: ISO time at which it last changed; set by the store.
    """

    name: str
    licence: str | None = None
    attribution: str | None = None
    revision: str | None = None
    date: str | None = None
    fingerprint: str = ""
    passages: int = 0
    documents: int = 0
    origin: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    updated: str | None = None

    @property
    def rows_left_out(self) -> int:
        """How many rows are not in it at all."""
        reasons = self.left_out.items()
        return sum(count for reason, count in reasons if not reason.startswith(KEPT_WITHOUT))
