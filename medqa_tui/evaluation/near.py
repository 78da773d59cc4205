"""How near given passages are to a question, as a search would have scored them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medqa_tui.corpus.record import PassageRecord
from medqa_tui.domain import Evidence

if TYPE_CHECKING:
    from medqa_tui.retrieval.embedder import TextEmbedder


def scored(
    question: str, evidence: Sequence[Evidence], embedder: TextEmbedder
) -> tuple[Evidence, ...]:
    """Return the passages with the cosine of each, as an index of them would give it."""
    asked = embedder.encode_query(question)
    found = []
    for item in evidence:
        views = embedder.encode(list(PassageRecord(item.passage).dense_texts))
        cosine = float((views @ asked).max())
        found.append(replace(item, scores=replace(item.scores, dense=cosine)))
    return tuple(found)
