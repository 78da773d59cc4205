"""Figures about a stored corpus: how long, from where, under which licence."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from medqa_tui.corpus.record import PassageRecord


@dataclass(frozen=True, slots=True)
class CorpusFigures:
    """A corpus in figures.

    Attributes:
        words: Words of a passage: least, median, mean, most.
        dates: The oldest and the newest ISO date, empty where there is none.
        sources, sites, licences: Passages by each of them, most first.
    """

    with_question: int
    words: tuple[int, float, float, int]
    dates: tuple[str, str]
    sources: tuple[tuple[str, int], ...]
    sites: tuple[tuple[str, int], ...]
    licences: tuple[tuple[str, int], ...]


def figures_of(records: Iterable[PassageRecord]) -> CorpusFigures:
    """Return the figures of some passages; memory grows with their number, not their length."""
    lengths: list[int] = []
    with_question = 0
    oldest = newest = ""
    sources, sites, licences = Counter[str](), Counter[str](), Counter[str]()
    for record in records:
        passage = record.passage
        lengths.append(len(passage.text.split()))
        with_question += passage.question is not None
        if passage.date:
            oldest = min(oldest or passage.date, passage.date)
            newest = max(newest, passage.date)
        sources[passage.source or "not stated"] += 1
        licences[passage.licence or "not stated"] += 1
        site = _site(passage.url or "")
        if site:
            sites[site] += 1
    words = (
        (min(lengths), statistics.median(lengths), statistics.mean(lengths), max(lengths))
        if lengths
        else (0, 0.0, 0.0, 0)
    )
    return CorpusFigures(
        with_question=with_question,
        words=words,
        dates=(oldest, newest),
        sources=tuple(sources.most_common()),
        sites=tuple(sites.most_common()),
        licences=tuple(licences.most_common()),
    )


def _site(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""
