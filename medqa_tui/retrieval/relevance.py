"""Whether what was found is near enough to the question to answer from: the abstention gate.

The numbers were chosen on 104 questions that 199 starter cards answer (lay words, misspellings),
76 about something else (sport, cooking, code, small talk, and false friends such as "signs of a
bad transmission") and 59 on health topics of which many had no card, with all-MiniLM-L6-v2.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from medqa_tui.domain import Evidence
from medqa_tui.retrieval import lexical, terms

COVERAGE_WEIGHT = 0.2
THRESHOLD = 0.54
"""Best cosine + weight x coverage must reach it. The cosine alone parts the two kinds almost as
well; words part "What are the symptoms of <no card of it>?" from the cards of other diseases."""

LOWEST_COSINE = 0.4
"""Below it, shared words are chance: "how do plants make food" against a card on food allergy."""

NO_WORD_COSINE = 0.65
"""What the cosine must reach where not one topic word is shared."""

LEXICAL_COVERAGE = 0.6
"""Without an embedder: keeps 82% and refuses 90%, the best that words alone gave."""

_CLOSE = 0.8
_SHORTEST_FUZZY = 5


def is_relevant(query: str, evidence: Sequence[Evidence], coverage: float | None = None) -> bool:
    """Return whether `evidence` is about what `query` asks.

    Args:
        coverage: Share of the query's topic words, in [0, 1], that one passage holds in whatever
            the index knows of it, where that was looked up; the shown text counts as well.
    """
    if not evidence:
        return False
    covered = max([coverage or 0.0, *(text_coverage(query, item) for item in evidence)])
    cosines = [item.scores.dense for item in evidence if item.scores.dense is not None]
    if not cosines:
        return covered >= LEXICAL_COVERAGE
    cosine = max(cosines)
    if covered == 0.0:
        return cosine >= NO_WORD_COSINE
    return cosine >= LOWEST_COSINE and cosine + COVERAGE_WEIGHT * covered >= THRESHOLD


def text_coverage(query: str, item: Evidence) -> float:
    """Return the share of the query's topic words, in [0, 1], that the passage's text holds.

    A near spelling counts for `_CLOSE` of a word: people misspell what they ask about.
    """
    wanted = terms.topic_words(query)
    if not wanted:
        return 0.0
    passage = item.passage
    text = " ".join((passage.title, passage.question or "", passage.text))
    present = [word for word in set(terms.words(text)) if not terms.is_stopword(word)]
    matched = set(lexical.matched_terms(" ".join(wanted), text))
    return sum(1.0 if word in matched else _near(word, present) for word in wanted) / len(wanted)


def _near(word: str, present: list[str]) -> float:
    if len(word) < _SHORTEST_FUZZY:
        return 0.0
    return _CLOSE if difflib.get_close_matches(word, present, n=1, cutoff=_CLOSE) else 0.0
