"""What the program's search finds for each starter card, the card itself taken out.

    python scripts/starter_adapter/evidence.py --data DATA --split train --output cards.jsonl

MEDQA_HOME is where the starter profile is set up and MedQuAD indexed beside the cards. For `train`
only MedQuAD's train split and train cards are searched, and nothing that touches a held-out topic.
The passages are MedQuAD's (CC BY 4.0): keep what is written out of the repository.

Three searches a card: `with`; `none`, where every passage of the card's topic is taken out;
`wrong`, where of the topic those stay whose own question is about another aspect.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

import numpy as np

from medqa_tui.corpus.cards import Card, Split, load_cards
from medqa_tui.corpus.heldout import read_heldout
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Evidence, Passage, Scope
from medqa_tui.generation.aspect import asked
from medqa_tui.grounding.words import content_stems
from medqa_tui.models import active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.loading import OpenIndex
from medqa_tui.retrieval.relevance import is_close, worth_reading
from medqa_tui.retrieval.reranker import Reranker
from medqa_tui.retrieval.retriever import Retriever
from medqa_tui.training.sources import Gate

Mask = np.ndarray

# As many as an answer may use.
PASSAGES = 5
# Of every third train card the unanswerable are searched for as well; they are to be some 20%.
EVERY = 3
GENERAL = content_stems(
    "test tests disease syndrome disorder infection attack problem problems use safety medicine "
    "medicines children adults health pain"
)


class Without(Retriever):
    """The program's search, blind to some passages.

    Attributes:
        hidden: True where a passage is not to be found, in the index's order.
    """

    hidden: Mask

    def _allowed(self, index: OpenIndex, scope: Scope) -> Mask:
        return ~self.hidden


class Shelf:
    """Every passage of the index, and which of them are about a card's topic."""

    def __init__(self, retriever: Without, store: CorpusStore, data: Path) -> None:
        passages = store.get(retriever.ids)
        self.passages = [passages[name] for name in retriever.ids]
        self.owner = np.array([f"{p.corpus}:{p.document}" for p in self.passages])
        self._heads = [f"{p.title} {p.question or ''}" for p in self.passages]
        self._stems = [content_stems(head) for head in self._heads]
        self._aspects = [asked(p.question or "") for p in self.passages]
        self._heldout = read_heldout(data / "heldout_topics.txt").values()

    def not_for_training(self, data: Path) -> Mask:
        """Return what is of another split than train, or touches a held-out topic."""
        gate = Gate(data)
        lines = (data / "medquad_split.tsv").read_text(encoding="utf-8").splitlines()[1:]
        train = {line.split("\t")[0] for line in lines if line.split("\t")[1] == "train"}
        train |= {card.id for card in load_cards() if card.split is Split.TRAIN}
        return np.array(
            [
                p.document not in train or gate.refuses(p.title, p.question or "", p.text)
                for p in self.passages
            ]
        )

    def topic(self, card: Card) -> tuple[Mask, Mask]:
        """Return what is about the card's topic by title and question, and what names it at all."""
        stems = content_stems(card.topic)
        own = (stems - GENERAL) or stems
        about = np.array([bool(own) and own <= known for known in self._stems])
        about |= self.owner_titles(card)
        named = about.copy()
        for pattern in self._heldout:
            if card.split is Split.HELDOUT and pattern.search(f"{card.topic} {card.question}"):
                heads = [bool(pattern.search(head)) for head in self._heads]
                about |= np.array(heads)
                named |= about | np.array([bool(pattern.search(p.text)) for p in self.passages])
        return about, named

    def owner_titles(self, card: Card) -> Mask:
        """Return the cards of the same topic."""
        return np.array([p.corpus == "starter" and p.title == card.topic for p in self.passages])

    def other_aspect(self, card: Card) -> Mask | None:
        """Return what asks for another aspect than the card; None if that asks for none."""
        wanted = asked(card.question)
        if wanted is None:
            return None
        # A passage that asks for none ("What is ...") speaks of all.
        return np.array([found is not None and found is not wanted for found in self._aspects])


def shown(item: Evidence) -> dict[str, Any]:
    passage: Passage = item.passage
    return {
        "n": item.n,
        "id": passage.id,
        "title": passage.title,
        "question": passage.question,
        "text": passage.text,
        "source": passage.source,
    }


def search(retriever: Without, question: str, hidden: Mask, about: Mask) -> dict[str, Any]:
    """Return what an answer would be written from, and what the program thinks of it."""
    retriever.hidden = hidden
    found = retriever.search(question, PASSAGES)
    reading = worth_reading(found.evidence)
    of_topic = {retriever.ids[n] for n in np.flatnonzero(about)}
    return {
        "relevant": found.relevant,
        "close": is_close(question, reading),
        "topical": any(item.passage.id in of_topic for item in reading),
        "dense": max((item.scores.dense or 0.0 for item in found.evidence), default=0.0),
        "evidence": [shown(item) for item in reading],
    }


def rows(retriever: Without, shelf: Shelf, cards: list[Card], never: Mask) -> Iterator[Any]:
    for number, card in enumerate(cards):
        hidden = never | (shelf.owner == f"starter:{card.id}")
        about, named = shelf.topic(card)
        row: dict[str, Any] = {
            "id": card.id,
            "topic": card.topic,
            "question": card.question,
            "answer": " ".join(card.answer.split()),
            "with": search(retriever, card.question, hidden, about),
        }
        if card.split is Split.HELDOUT or number % EVERY == 0:
            row["none"] = search(retriever, card.question, hidden | named, about)
            other = shelf.other_aspect(card)
            if other is not None and (about & other & ~hidden).any():
                kept = about & other
                row["wrong"] = search(retriever, card.question, hidden | (named & ~kept), about)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with MedQuAD")
    parser.add_argument("--split", type=Split, choices=list(Split), required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    paths = get_paths()
    installed = active.load_active(paths)
    if installed is None or installed.reranker is None:
        raise SystemExit("Set up the starter profile first: medqa-tui setup")
    encoder = installed.embedder_dir(paths)
    with CorpusStore(paths.corpora / "corpora.db", read_only=True) as store:
        retriever = Without.open(
            installed.index_dir(paths),
            store,
            Embedder.load(encoder),
            Reranker.load(installed.reranker_dir(paths), base_folder=encoder),
        )
        shelf = Shelf(retriever, store, options.data)
        never = np.zeros(len(shelf.passages), bool)
        cards = [card for card in load_cards() if card.split is options.split]
        if options.split is Split.TRAIN:
            never = shelf.not_for_training(options.data)
            gate = Gate(options.data)
            cards = [c for c in cards if not gate.refuses(c.question, *c.phrasings, c.answer)]
        # One line as soon as it is there, so that a killed run has what it did.
        with options.output.open("w", encoding="utf-8") as lines:
            for row in rows(retriever, shelf, cards, never):
                print(json.dumps(row, ensure_ascii=False), file=lines, flush=True)


if __name__ == "__main__":
    main()
