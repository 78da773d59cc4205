"""Check the starter cards: own words, real addresses, held-out topics, coverage, the review log.

    python scripts/starter_corpus/check.py --data DATA [--cache FILE] [--only WORD ...]

DATA is the folder with MedQuAD, WikiDoc's patient pages, Medication QA and the held-out topics.
Prints one problem a line and ends with 1 if there is any.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from review import read_reviews, review_problems, stamp
from sources import Sources

from medqa_tui.corpus.cards import Card, Split, load_cards
from medqa_tui.grounding.sentences import split_sentences

FLOORS = {
    "chronic disease": 90,
    "infections": 75,
    "heart and circulation": 45,
    "brain and mind": 65,
    "women's, men's and sexual health": 55,
    "children": 40,
    "skin, eye, ear and teeth": 45,
    "bones, joints and muscles": 40,
    "digestion": 45,
    "cancer": 45,
    "tests and procedures": 50,
    "medicines": 60,
    "emergencies and first aid": 40,
    "prevention and healthy living": 40,
}
CARDS, TOPICS, HELDOUT, HELDOUT_TOPICS, UNCHECKED = 800, 200, 200, 50, 0.15
_WORDS = range(50, 141)
_SENTENCE = 40
_DANGLING = re.compile(r"(It|This|That|These|Those|They|He|She|Such)\b")
_PUNCTUATION = re.compile(r"[()\u2013\u2014;:\[\]]|\bi\.e\.|\be\.g\.")


def card_problems(card: Card, sources: Sources) -> Iterator[str]:
    """Yield what is wrong with one card's text, address or split."""
    count = len(card.answer.split())
    if count not in _WORDS:
        yield f"{count} words, from {_WORDS[0]} to {_WORDS[-1]}"
    if not 2 <= len(card.phrasings) <= 4:
        yield f"{len(card.phrasings)} other phrasings, from 2 to 4"
    if not card.question.endswith("?"):
        yield "the question has no question mark"
    if found := _PUNCTUATION.search(card.answer):
        yield f"{found.group(0)!r} in the answer"
    yield from _sentence_problems(card)
    if card.url not in (sources.medquad_urls if card.checked else _urls(sources)):
        yield f"no source has the address {card.url}"
    for text in (card.answer, card.question, *card.phrasings):
        for run in sources.shared_runs(text):
            yield f"shares with a data set: {run}"
    betrayed = heldout_topics(card, sources)
    if betrayed and card.split is Split.TRAIN:
        yield f"touches a held-out topic: {', '.join(betrayed)}"
    if not card.checked and card.category == "medicines" and re.search(r"\d", card.answer):
        yield "a number in a card that nobody has checked"


def _urls(sources: Sources) -> frozenset[str]:
    return sources.medquad_urls | sources.medication_urls


def _sentence_problems(card: Card) -> Iterator[str]:
    for sentence in split_sentences(card.answer):
        if sentence[-1] not in ".!":
            yield f"no full stop: {sentence[-30:]}"
        if _DANGLING.match(sentence):
            yield f"does not name its subject: {sentence[:40]}"
        if len(sentence.split()) > _SENTENCE:
            yield f"more than {_SENTENCE} words: {sentence[:40]}"


def heldout_topics(card: Card, sources: Sources) -> list[str]:
    """Return the held-out topics that a card's text, questions or topic betray."""
    text = " ".join((card.topic, card.question, *card.phrasings, card.answer))
    return [name for name, pattern in sources.heldout.items() if pattern.search(text)]


def corpus_problems(cards: list[Card], sources: Sources) -> Iterator[str]:
    """Yield what is wrong with the cards as a whole: coverage, sizes and shares."""
    counts = Counter(card.category for card in cards)
    for category in counts.keys() - FLOORS.keys():
        yield f"unknown category {category!r}"
    for category, floor in FLOORS.items():
        if counts[category] < floor:
            yield f"{category}: {counts[category]} cards of {floor}"
    held = [card for card in cards if card.split is Split.HELDOUT]
    held_topics = {name for card in held for name in heldout_topics(card, sources)}
    topics = {card.topic for card in cards}
    unchecked = sum(not card.checked for card in cards)
    for what, got, floor in (
        ("cards", len(cards), CARDS),
        ("topics", len(topics), TOPICS),
        ("held-out cards", len(held), HELDOUT),
        ("held-out topics", len(held_topics), HELDOUT_TOPICS),
    ):
        if got < floor:
            yield f"{got} {what} of {floor}"
    if unchecked > UNCHECKED * len(cards):
        yield f"{unchecked} of {len(cards)} cards are unchecked, at most {UNCHECKED:.0%}"
    for question, times in Counter(card.question.lower() for card in cards).items():
        if times > 1:
            yield f"{times} cards ask: {question}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--cache", type=Path, help="keep the hashes of all runs here (.npy)")
    parser.add_argument("--only", nargs="*", help="categories or files whose cards are checked")
    parser.add_argument("--stamp", action="store_true", help="tie new reviews to their answers")
    options = parser.parse_args()
    sources = Sources(options.data, options.cache)
    cards = load_cards()
    if options.stamp:
        print(f"{stamp(cards)} reviews stamped")
    chosen = cards
    if options.only:
        chosen = [c for c in cards if c.category in options.only or c.file in options.only]
    problems = [f"{card.id}: {what}" for card in chosen for what in card_problems(card, sources)]
    problems += review_problems(chosen, read_reviews(), sources)
    if not options.only:
        problems += corpus_problems(cards, sources)
    print("\n".join(problems))
    checked = sum(card.checked for card in chosen)
    print(f"{len(chosen)} cards, {checked} checked, {len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
