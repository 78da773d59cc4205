"""From a source to the store."""

from __future__ import annotations

import hashlib

from medqa_tui.corpus.cards import CORPUS, LICENCE, Card, load_cards
from medqa_tui.corpus.record import CorpusInfo, PassageRecord, Progress
from medqa_tui.corpus.store import CorpusStore

ATTRIBUTION = "medqa-tui starter cards; each card names the page that its facts come from"


def ingest_starter(store: CorpusStore, on_progress: Progress | None = None) -> CorpusInfo:
    """Put the starter cards into `store`, unless the very same ones are there already.

    Raises:
        CardError: A card breaks the schema.
        MedQAError: The store cannot be written.
    """
    cards = load_cards()
    records = [record for card in cards for record in card.to_passages()]
    revision = _revision(records)
    present = store.corpus(CORPUS)
    if present is not None and present.revision == revision and present.passages == len(records):
        return present
    info = CorpusInfo(
        name=CORPUS,
        licence=LICENCE,
        attribution=ATTRIBUTION,
        revision=revision,
        date=_latest(cards),
    )
    return store.replace(info, records, on_progress=on_progress, total=len(records))


def _revision(records: list[PassageRecord]) -> str:
    return hashlib.sha256("".join(r.content_hash for r in records).encode()).hexdigest()[:16]


def _latest(cards: list[Card]) -> str | None:
    return max((card.written for card in cards), default=None)
