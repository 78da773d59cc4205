"""Fits the weights of the gate (`medqa_tui/retrieval/gate.py`) and prints what they are worth.

    python scripts/starter_adapter/gate.py --data DATA --output gate.json

MEDQA_HOME is where the starter profile is set up and MedQuAD indexed beside the cards. Only train
cards ask, and only they and MedQuAD's train split are found. What has an answer: train cards asked
for by a phrasing that the index does not have, over the cards alone and with MedQuAD, where the
card is read; and the cards' own questions, the card taken out, where another passage that is read
says nearly what its first sentence says. What has none: the same, without the card and all that
comes near it, with and without other passages of its topic; diseases that no card names; and the
questions of `elsewhere.txt`. Half an hour on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from medqa_tui.offline import go_offline

go_offline()

import numpy as np
from evidence import Mask, Shelf, Without
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from medqa_tui.corpus.cards import CORPUS, Card, Split, load_cards
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Evidence
from medqa_tui.evaluation.heldout_cards import ANSWERS, MAY_ANSWER
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.words import content_stems
from medqa_tui.models import active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.gate import Signals
from medqa_tui.retrieval.index import build_index
from medqa_tui.retrieval.relevance import is_relevant, worth_reading
from medqa_tui.training.sources import Gate

PASSAGES, DEPTH = 5, 30
RARE = 200
MOST_OF_A_SITE = 40
FOLDS = 5
# Of the cards alone, asked for in other words: the share that is let through.
KEPT = 0.93
# All questions of a kind together; what has an answer outweighs the rest, as losing it is worse.
WEIGHT = {
    "alone": 4.0,
    "beside MedQuAD": 4.0,
    "another passage": 4.0,
    "alone, topic gone": 1.0,
    "alone, other aspects": 1.0,
    "passages, topic gone": 2.0,
    "passages, other aspects": 2.0,
    "no card names it": 1.0,
    "elsewhere": 0.5,
    "elsewhere, MedQuAD": 0.5,
}
SIGNS = np.array([1.0, 1.0, -1.0, -1.0])
NAMES = ("COSINE", "WORDS", "MISSED", "FOREIGN")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question over one corpus, what the gate sees of it, and what it said before."""

    kind: str
    answered: bool
    topic: str
    signals: Signals
    before: bool


class Desk:
    """A search over one index, with what tells whether a passage answers."""

    def __init__(
        self, retriever: Without, store: CorpusStore, embedder: Embedder, data: Path
    ) -> None:
        self.retriever = retriever
        self.shelf = Shelf(retriever, store, data)
        self.never = self.shelf.not_for_training(data)
        self._embedder = embedder
        self._rows: dict[str, np.ndarray] = {}

    def find(self, question: str, hidden: Mask | None = None) -> tuple[Evidence, ...]:
        self.retriever.hidden = self.never if hidden is None else self.never | hidden
        return self.retriever.search(question, DEPTH).evidence

    def owner(self, card: Card) -> Mask:
        return self.shelf.owner == f"{CORPUS}:{card.id}"

    def sure(self, answer: np.ndarray, item: Evidence) -> float:
        passage = item.passage
        if passage.id not in self._rows:
            sentences = split_sentences(passage.text) or [passage.text]
            self._rows[passage.id] = self._embedder.encode(sentences)
        return float((self._rows[passage.id] @ answer).max())

    def answer(self, card: Card) -> np.ndarray:
        return self._embedder.encode(split_sentences(card.answer)[:1])[0]

    def asked(
        self, kind: str, answered: bool, topic: str, question: str, found: Sequence[Evidence]
    ) -> Asked | None:
        judged = tuple(replace(item, n=n) for n, item in enumerate(found[:PASSAGES], 1))
        signals = self.retriever.signals(question, judged)
        if signals is None:
            return None
        return Asked(kind, answered, topic, signals, is_relevant(question, judged))


def without(
    desk: Desk, kind: str, card: Card, question: str, found: Sequence[Evidence]
) -> Iterator[Asked | None]:
    """Yield the card's question with what is found beside all that comes near its answer."""
    answer = desk.answer(card)
    wrong = [item for item in found if desk.sure(answer, item) < MAY_ANSWER]
    stems = content_stems(card.topic)

    def of_topic(item: Evidence) -> bool:
        passage = item.passage
        return bool(stems & content_stems(f"{passage.title}. {passage.question or ''}"))

    gone = [item for item in wrong if not of_topic(item)]
    yield desk.asked(f"{kind}, topic gone", False, card.topic, question, gone)
    if any(of_topic(item) for item in wrong[:PASSAGES]):
        yield desk.asked(f"{kind}, other aspects", False, card.topic, question, wrong)


def everyday(
    desk: Desk, kind: str, cards: Sequence[Card], left: dict[str, str]
) -> Iterator[Asked | None]:
    """Yield cards asked for by the phrasing that the index does not have."""
    for card in cards:
        question = left[card.id]
        found = desk.find(question)
        read = worth_reading(found[:PASSAGES])
        if any(item.passage.document == card.id for item in read):
            yield desk.asked(kind, True, card.topic, question, found)
        if kind == "alone":
            rest = [item for item in found if item.passage.document != card.id]
            yield from without(desk, kind, card, question, rest)


def passages(desk: Desk, cards: Sequence[Card]) -> Iterator[Asked | None]:
    """Yield the cards' own questions, the card itself taken out."""
    for card in cards:
        found = desk.find(card.question, desk.owner(card))
        answer = desk.answer(card)
        read = worth_reading(found[:PASSAGES])
        if any(desk.sure(answer, item) >= ANSWERS for item in read):
            yield desk.asked("another passage", True, card.topic, card.question, found)
        yield from without(desk, "passages", card, card.question, found)


def rare(desk: Desk, data: Path, gate: Gate) -> Iterator[Asked | None]:
    """Yield questions of MedQuAD's train split on what no card names."""
    with gzip.open(data / "medquad.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = (data / "medquad_split.tsv").read_text(encoding="utf-8").splitlines()[1:]
    train = {line.split("\t")[0] for line in pairs if line.split("\t")[1] == "train"}
    known = [content_stems(f"{p.title} {p.question} {p.text}") for p in desk.shelf.passages]
    rows = [r for r in rows if r["id"] in train and r["focus"] and not gate.refuses(r["question"])]
    random.Random(0).shuffle(rows)
    seen: set[str] = set()
    sites: dict[str, int] = {}
    for row in rows:
        focus, site = row["focus"], row["id"].split("_")[0]
        stems = content_stems(focus)
        there = not stems or any(stems <= held for held in known)
        if there or focus in seen or sites.get(site, 0) == MOST_OF_A_SITE:
            continue
        seen.add(focus)
        sites[site] = sites.get(site, 0) + 1
        yield desk.asked(
            "no card names it", False, focus, row["question"], desk.find(row["question"])
        )


def elsewhere(desk: Desk, kind: str) -> Iterator[Asked | None]:
    for line in (Path(__file__).parent / "elsewhere.txt").read_text(encoding="utf-8").splitlines():
        yield desk.asked(kind, False, line, line, desk.find(line))


# -- the fit -----------------------------------------------------------------------------------


def table(asked: Sequence[Asked]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the signals, (n, 4), whether there is an answer, and what each question weighs."""
    rows = np.array([list(asdict(one.signals).values()) for one in asked], dtype=float)
    kinds = [one.kind for one in asked]
    weights = np.array([1000 * WEIGHT[kind] / kinds.count(kind) for kind in kinds])
    return rows, np.array([one.answered for one in asked], dtype=float), weights


def fitted(rows: np.ndarray, answered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights and bias, (5,), of the logistic regression whose signs are given."""
    spread = rows.std(axis=0) * SIGNS
    scaled = rows / spread

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        z = scaled @ values[:-1] + values[-1]
        wrong = np.logaddexp(0, z) - answered * z
        slope = weights * (1 / (1 + np.exp(-z)) - answered)
        total = float(weights @ wrong + 0.5 * values[:-1] @ values[:-1])
        return total, np.append(scaled.T @ slope + values[:-1], slope.sum())

    bounds = [(0.0, None)] * len(SIGNS) + [(None, None)]
    found = minimize(loss, np.zeros(5), jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.append(found[:-1] / spread, found[-1])


def scored(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return rows @ values[:-1] + values[-1]


def crossed(asked: Sequence[Asked]) -> np.ndarray:
    """Return the score of each question by a fit that did not see its topic."""
    rows, answered, weights = table(asked)
    folds = np.array(
        [int(hashlib.sha256(one.topic.encode()).hexdigest(), 16) % FOLDS for one in asked]
    )
    scores = np.zeros(len(asked))
    for fold in range(FOLDS):
        seen, held = folds != fold, folds == fold
        values = fitted(rows[seen], answered[seen], weights[seen])
        # Moved so that what is asked for is the same in every fold.
        values[-1] -= floor(
            [one for one, s in zip(asked, seen, strict=True) if s], scored(rows[seen], values)
        )
        scores[held] = scored(rows[held], values)
    return scores


def floor(asked: Sequence[Asked], scores: np.ndarray) -> float:
    """Return the score that `KEPT` of the cards alone reach."""
    everyday_ones = [s for one, s in zip(asked, scores, strict=True) if one.kind == "alone"]
    return float(np.quantile(everyday_ones, 1 - KEPT))


def told(asked: Sequence[Asked], scores: np.ndarray) -> Iterator[str]:
    """Yield what was let through of each kind, and the curves."""
    kinds = np.array([one.kind for one in asked])
    before = np.array([one.before for one in asked])
    yield "| kind | questions | let through | before |\n|---|---:|---:|---:|"
    for kind in WEIGHT:
        own = kinds == kind
        now = (scores[own] >= 0).mean()
        yield f"| {kind} | {own.sum()} | {now:.0%} | {before[own].mean():.0%} |"
    for good, bads in (
        ("another passage", ("passages, topic gone", "passages, other aspects")),
        ("alone", ("alone, topic gone", "alone, other aspects")),
    ):
        for bad in (*((one,) for one in bads), bads):
            yield curve(
                f"{good} against {' and '.join(bad)}",
                scores[kinds == good],
                scores[np.isin(kinds, bad)],
            )


def curve(name: str, good: np.ndarray, bad: np.ndarray) -> str:
    area = roc_auc_score([1] * len(good) + [0] * len(bad), [*good, *bad])
    at = ", ".join(
        f"{share:.0%}: {(bad < np.quantile(good, 1 - share)).mean():.0%}"
        for share in (0.85, 0.9, 0.95)
    )
    return f"{name}: area {area:.3f}; refused where so many are answered: {at}"


# -- the corpora -------------------------------------------------------------------------------


def lacking(records: Iterator[PassageRecord], left: dict[str, str]) -> Iterator[PassageRecord]:
    """Yield the records, without the phrasing that is to be asked."""
    for record in records:
        passage = record.passage
        gone = left.get(passage.document) if passage.corpus == CORPUS else None
        yield replace(record, phrasings=tuple(p for p in record.phrasings if p != gone))


def collected(data: Path) -> list[Asked]:
    paths = get_paths()
    installed = active.load_active(paths)
    if installed is None:
        raise SystemExit("Set up the starter profile first: medqa-tui setup")
    gate = Gate(data)
    cards = [card for card in load_cards() if card.split is Split.TRAIN]
    cards = [c for c in cards if not gate.refuses(c.question, *c.phrasings, c.answer)]
    left = {card.id: card.phrasings[n % 3] for n, card in enumerate(cards)}
    embedder = Embedder.load(installed.embedder_dir(paths))
    asked: list[Asked | None] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medqa-gate-")))
        # A build takes over the vectors of the indexes beside it.
        (folder / "home").symlink_to(installed.index_dir(paths))
        source = stack.enter_context(CorpusStore(paths.corpora / "corpora.db", read_only=True))

        def desk(*corpora: str) -> Desk:
            name = "-".join(corpora)
            store = stack.enter_context(CorpusStore(folder / f"{name}.db"))
            for corpus in corpora:
                records = list(lacking(source.records((corpus,)), left))
                store.replace(CorpusInfo(corpus), records, total=len(records))
            build_index(store, embedder, folder / name)
            retriever = Without.open(folder / name, store, embedder)
            return Desk(retriever, store, embedder, data)

        say: Callable[[str], None] = lambda what: print(what, flush=True)  # noqa: E731
        alone = desk(CORPUS)
        asked += everyday(alone, "alone", cards, left)
        asked += elsewhere(alone, "elsewhere")
        asked += islice(rare(alone, data, gate), RARE)
        say(f"{len(asked)} questions over the cards alone")
        both = desk("medquad", CORPUS)
        asked += everyday(both, "beside MedQuAD", cards, left)
        asked += elsewhere(both, "elsewhere, MedQuAD")
        say(f"{len(asked)} questions, with MedQuAD")
        asked += passages(both, cards)
    return [one for one in asked if one is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with MedQuAD")
    parser.add_argument("--output", type=Path, help="keep the signals here, or read them if there")
    options = parser.parse_args()
    if options.output and options.output.is_file():
        rows = json.loads(options.output.read_text(encoding="utf-8"))
        asked = [Asked(**{**row, "signals": Signals(**row["signals"])}) for row in rows]
    else:
        asked = collected(options.data)
        if options.output:
            text = json.dumps([asdict(one) for one in asked])
            options.output.write_text(text, encoding="utf-8")
    values = fitted(*table(asked))
    values[-1] -= floor(asked, scored(table(asked)[0], values))
    print(f"BIAS = {values[-1]:.3f}")
    for name, value in zip(NAMES, values * np.append(SIGNS, 1.0), strict=False):
        print(f"{name} = {value:.3f}")
    print(*told(asked, crossed(asked)), sep="\n")


if __name__ == "__main__":
    main()
