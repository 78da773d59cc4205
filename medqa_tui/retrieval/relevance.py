"""Whether what was found is near enough to the question to answer from: the abstention gate.

The numbers were chosen on 104 questions that 199 starter cards answer (lay words, misspellings),
76 about something else (sport, cooking, code, small talk, and false friends such as "signs of a
bad transmission") and 59 on health topics of which many had no card, with all-MiniLM-L6-v2.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import islice

from medqa_tui.domain import Evidence
from medqa_tui.retrieval import lexical, terms
from medqa_tui.retrieval.gate import Signals, log_odds

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

CLOSE_COSINE = 0.8
SAME_QUESTION = 0.75
"""From this cosine on, or where a passage's question shares this much of its words with what was
asked, the passage answers the very question."""

MOST_READ = 3
OTHER_TOPIC_MARGIN = 0.08
SAME_TOPIC_MARGIN = 0.2
"""How far below the best cosine a passage of another title, or of the best one's, is still read.

On 40 questions over 199 starter cards, five found for each: 50 of the 58 passages that help are
read, and 2 of the 122 about something else. One margin of 0.2 for all reads 52 and 18 of them.
"""

WORDS_SHARE = 0.9
"""Without an embedder, the share of the best BM25 score: reads 46 of 53, and 3 of 115."""

_CLOSE = 0.8
_SHORTEST_FUZZY = 5


def is_relevant(
    query: str,
    evidence: Sequence[Evidence],
    coverage: float | None = None,
    signals: Signals | None = None,
) -> bool:
    """Return whether `evidence` answers what `query` asks, or without `signals` is about it.

    Args:
        coverage: Share of the query's topic words, in [0, 1], that one passage holds in whatever
            the index knows of it, where that was looked up; the shown text counts as well.
        signals: What an index and an embedder say of the evidence: with them the fitted gate
            decides, unless a passage answers the very question.
    """
    if not evidence:
        return False
    if signals is not None:
        return log_odds(signals) >= 0.0 or is_close(query, evidence)
    covered = max([coverage or 0.0, *(text_coverage(query, item) for item in evidence)])
    cosines = [item.scores.dense for item in evidence if item.scores.dense is not None]
    if not cosines:
        return covered >= LEXICAL_COVERAGE
    cosine = max(cosines)
    if covered == 0.0:
        return cosine >= NO_WORD_COSINE
    return cosine >= LOWEST_COSINE and cosine + COVERAGE_WEIGHT * covered >= THRESHOLD


def worth_reading(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return the passages, one to three of them, that an answer may be written from.

    A small model says something of every passage it is given, also of those that are merely next
    in the list. The first is always read, and the numbers stay as they are.
    """
    if not evidence:
        return ()
    first = evidence[0]
    cosines = [item.scores.dense for item in evidence if item.scores.dense is not None]

    def is_near(item: Evidence) -> bool:
        same = item.passage.title == first.passage.title
        if not cosines:
            words, most = item.scores.bm25 or 0.0, first.scores.bm25 or 0.0
            return same or 0.0 < WORDS_SHARE * most <= words
        margin = SAME_TOPIC_MARGIN if same else OTHER_TOPIC_MARGIN
        return item.scores.dense is not None and item.scores.dense >= max(cosines) - margin

    # Words alone say little of what stands further down.
    others = evidence[1:] if cosines else evidence[1:MOST_READ]
    return (first, *islice(filter(is_near, others), MOST_READ - 1))


def is_close(query: str, evidence: Sequence[Evidence]) -> bool:
    """Return whether a passage is so close that a small model's "no answer" is not believed."""
    asked = _content(query)
    return any(
        (item.scores.dense or 0.0) >= CLOSE_COSINE
        or _overlap(asked, _content(item.passage.question or "")) >= SAME_QUESTION
        for item in evidence
    )


def _content(text: str) -> set[str]:
    return {word for word in terms.words(text) if not terms.is_stopword(word)}


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


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
