"""Figures about the starter cards: how many, on what, how long, from where, how many checked."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from medqa_tui.corpus.cards import Card, Split


@dataclass(frozen=True, slots=True)
class CategoryStats:
    """One category's share of the cards."""

    category: str
    cards: int
    topics: int
    checked: int
    heldout: int


@dataclass(frozen=True, slots=True)
class CardStats:
    """The cards in figures.

    Attributes:
        phrasings: How many other phrasings they have in all.
        words: Words of an answer: least, median, mean, most.
        sites: Cards by the host of their source, most first.
        latest: ISO date of the newest answer.
    """

    cards: int
    topics: int
    phrasings: int
    checked: int
    heldout: int
    core13: int
    words: tuple[int, float, float, int]
    sites: tuple[tuple[str, int], ...]
    latest: str
    categories: tuple[CategoryStats, ...]


def card_stats(cards: Sequence[Card]) -> CardStats:
    """Return the figures of at least one card."""
    lengths = [len(card.answer.split()) for card in cards]
    sites = Counter(_site(card.url) for card in cards)
    names = sorted({card.category for card in cards})
    return CardStats(
        cards=len(cards),
        topics=_topics(cards),
        phrasings=sum(len(card.phrasings) for card in cards),
        checked=sum(card.checked for card in cards),
        heldout=_heldout(cards),
        core13=sum(card.core13 for card in cards),
        words=(min(lengths), statistics.median(lengths), statistics.mean(lengths), max(lengths)),
        sites=tuple(sites.most_common()),
        latest=max(card.written for card in cards),
        categories=tuple(_category(name, cards) for name in names),
    )


def _category(name: str, cards: Sequence[Card]) -> CategoryStats:
    own = [card for card in cards if card.category == name]
    checked = sum(card.checked for card in own)
    return CategoryStats(name, len(own), _topics(own), checked, _heldout(own))


def _topics(cards: Sequence[Card]) -> int:
    return len({card.topic for card in cards})


def _heldout(cards: Sequence[Card]) -> int:
    return sum(card.split is Split.HELDOUT for card in cards)


def _site(url: str) -> str:
    return (urlsplit(url).hostname or "").removeprefix("www.")
