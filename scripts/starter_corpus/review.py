"""The review log: for every sentence of a checked card, the source row and the words that carry it.

One JSON object a line, one line a card, in `review/*.jsonl`:

    {"card": "asthma-what", "answer": "9f2c...", "outcome": "kept", "note": "",
     "claims": [{"sentence": 1, "row": "NHLBI_0000012-1", "words": "narrows the airways"},
                {"sentence": 2, "advice": "sends to care"}]}

`sentence` counts from 1. `words` stand in the row as they are, at most 11 in a run, so that no
sentence of a source is repeated. A sentence that only sends the reader to care, which may be ours,
says so in `advice`. `answer` is the hash of the answer that was reviewed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sources import RUN, Sources, words

from medqa_tui.corpus.cards import Card
from medqa_tui.grounding.sentences import split_sentences

FOLDER = Path(__file__).resolve().parent / "review"
OUTCOMES = ("kept", "changed", "dropped")


@dataclass(frozen=True, slots=True)
class Review:
    """What the second pass found for one card."""

    card: str
    answer: str
    outcome: str
    note: str
    claims: tuple[dict[str, Any], ...]
    file: str


def answer_hash(answer: str) -> str:
    """Return the hash that ties a review to the answer it was made of."""
    return hashlib.sha256(" ".join(words(answer)).encode()).hexdigest()[:16]


def read_reviews(folder: Path = FOLDER) -> list[Review]:
    """Return every review of the log."""
    return [
        Review(
            record["card"],
            record.get("answer", ""),
            record["outcome"],
            record.get("note", ""),
            tuple(record["claims"]),
            path.name,
        )
        for path in sorted(folder.glob("*.jsonl"))
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def stamp(cards: Iterable[Card], folder: Path = FOLDER) -> int:
    """Write the hash of the present answer into reviews that have none; return how many."""
    answers = {card.id: card.answer for card in cards}
    stamped = 0
    for path in sorted(folder.glob("*.jsonl")):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for record in records:
            if not record.get("answer") and record["card"] in answers:
                record["answer"] = answer_hash(answers[record["card"]])
                stamped += 1
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8")
    return stamped


def review_problems(
    cards: Iterable[Card], reviews: list[Review], sources: Sources
) -> Iterator[str]:
    """Yield what is wrong: sentences of checked cards without a source, words not found."""
    by_card: dict[str, Review] = {}
    for review in reviews:
        if review.card in by_card:
            yield f"{review.file}: {review.card} is reviewed twice"
        if review.outcome not in OUTCOMES:
            yield f"{review.file}: {review.card}: outcome {review.outcome!r}"
        by_card[review.card] = review
    for card in cards:
        found = by_card.get(card.id)
        if not card.checked:
            continue
        if found is None or found.outcome == "dropped":
            yield f"{card.id}: checked, but the log has no review of it"
            continue
        if found.answer != answer_hash(card.answer):
            yield f"{card.id}: the answer has changed since it was reviewed"
        yield from (f"{card.id}: {what}" for what in _claim_problems(card, found, sources))


def _claim_problems(card: Card, review: Review, sources: Sources) -> Iterator[str]:
    sentences = split_sentences(card.answer)
    missing = set(range(1, len(sentences) + 1))
    for claim in review.claims:
        missing.discard(claim["sentence"])
        if "advice" in claim:
            continue
        row = sources.medquad.get(claim["row"])
        if row is None:
            yield f"sentence {claim['sentence']}: no row {claim['row']}"
            continue
        quoted = words(claim["words"])
        if not 1 <= len(quoted) < RUN:
            yield f"sentence {claim['sentence']}: {len(quoted)} words quoted, from 1 to {RUN - 1}"
        elif not _holds(words(row["answer"]), quoted):
            yield f"sentence {claim['sentence']}: not in {claim['row']}: {claim['words']!r}"
    if missing:
        yield f"no source for sentence {', '.join(map(str, sorted(missing)))}"


def _holds(text: list[str], part: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(text)} "
