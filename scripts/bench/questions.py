"""How well the search finds the right starter card, on questions written without seeing the cards.

Recall@1, recall@5 and MRR@10 of BM25, of the dense arm, of both fused, and of those re-ranked, with
the cards' other phrasings indexed and without them; intervals by bootstrap over questions. Then how
often the gate lets through a question that has an answer, and one that has none. The questions and
their labels are in tests/data/questions; only the models installed in MEDQA_HOME are used.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from _common import home, installed, machine, note, parser, report, table

from medqa_tui.config import load_settings
from medqa_tui.corpus.cards import CORPUS, load_cards
from medqa_tui.corpus.record import CorpusInfo
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.offline import go_offline
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.index import build_index
from medqa_tui.retrieval.reranker import Reranker
from medqa_tui.retrieval.retriever import Mode, Retriever

QUESTIONS = Path(__file__).resolve().parents[2] / "tests" / "data" / "questions"
SYSTEMS: dict[str, tuple[Mode, bool]] = {
    "bm25": ("bm25", False),
    "dense": ("dense", False),
    "hybrid": ("hybrid", False),
    "re-ranked": ("hybrid", True),
}
INDEXED = {"both": (False, True), "without": (False,), "with": (True,)}
_DEPTH = 10
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Found:
    """What one search gave: the cards in order, best first, and what the gate said."""

    cards: tuple[str, ...]
    relevant: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """One arm's figures over all labelled questions, each with a 95% interval."""

    recall_1: tuple[float, float, float]
    recall_5: tuple[float, float, float]
    mrr_10: tuple[float, float, float]


def read(name: str) -> list[dict[str, Any]]:
    """Return the records of one file of questions."""
    lines = (QUESTIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@contextmanager
def retriever_over(
    embedder: Embedder, reranker: Reranker | None, *, phrasings: bool
) -> Iterator[Retriever]:
    """Open a search over the cards, with or without their other phrasings."""
    records = [record for card in load_cards() for record in card.to_passages()]
    if not phrasings:
        records = [replace(record, phrasings=()) for record in records]
    with tempfile.TemporaryDirectory(prefix="medqa-bench-") as name:
        folder = Path(name)
        with CorpusStore(folder / "corpora.db") as store:
            store.replace(CorpusInfo(CORPUS), records, total=len(records))
            build_index(store, embedder, folder / "index")
            settings = load_settings().retrieval
            yield Retriever.open(folder / "index", store, embedder, reranker, settings)


def search(retriever: Retriever, question: str, system: str) -> Found:
    """Return the first cards of a search; a card of several passages counts once."""
    mode, rerank = SYSTEMS[system]
    result = retriever.search(question, 2 * _DEPTH, mode=mode, rerank=rerank)
    cards = dict.fromkeys(item.passage.document for item in result.evidence)
    return Found(tuple(cards)[:_DEPTH], result.relevant)


def rank(found: Found, right: frozenset[str]) -> int | None:
    """Return the place of the first right card, counted from 1, or None."""
    return next((n for n, card in enumerate(found.cards, 1) if card in right), None)


def figures(ranks: Sequence[int | None]) -> Figures:
    """Return recall and mean reciprocal rank of the ranks of the first right cards."""

    def of(value: Callable[[int], float]) -> tuple[float, float, float]:
        return interval([0.0 if r is None else value(r) for r in ranks])

    return Figures(of(lambda r: float(r == 1)), of(lambda r: float(r <= 5)), of(lambda r: 1 / r))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95% interval by the percentile bootstrap (Efron 1979)."""
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = means[int(_RESAMPLES * 0.025)], means[int(_RESAMPLES * 0.975) - 1]
    return statistics.fmean(values), low, high


def _text(figure: tuple[float, float, float]) -> str:
    mean, low, high = figure
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions: those with right cards, and those that no card answers."""

    labelled: tuple[tuple[dict[str, Any], frozenset[str]], ...]
    without_card: int
    unanswerable: tuple[str, ...]

    @classmethod
    def read(cls) -> Asked:
        """Return what is in the files of questions and labels."""
        labels = {row["id"]: frozenset(row["cards"]) for row in read("labels")}
        pairs = [(row, labels[row["id"]]) for row in read("answerable")]
        bare = tuple(row["question"] for row in read("unanswerable"))
        labelled = tuple(pair for pair in pairs if pair[1])
        return cls(labelled, len(pairs) - len(labelled), bare)


def measure(retriever: Retriever, asked: Asked, system: str) -> tuple[Figures, list[str]]:
    """Return an arm's figures, and the questions whose card is not among the first five."""
    ranks, late = [], []
    for row, right in asked.labelled:
        found = search(retriever, row["question"], system)
        ranks.append(rank(found, right))
        if ranks[-1] is None or ranks[-1] > 5:
            late.append(f"{row['id']} {row['question']} | {sorted(right)} | {found.cards[:3]}")
    return figures(ranks), late


def gate(retriever: Retriever, asked: Asked) -> tuple[float, float]:
    """Return the share of answerable questions let through, and of the others refused.

    The gate looks at what was found before it is re-ranked.
    """
    kept = [search(retriever, row["question"], "hybrid").relevant for row, _ in asked.labelled]
    let_in = [search(retriever, question, "hybrid").relevant for question in asked.unanswerable]
    return statistics.fmean(kept), 1 - statistics.fmean(let_in)


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--phrasings", choices=INDEXED, default="both", help="what to index of the cards' phrasings"
    )
    chosen = options.parse_args()
    home()
    go_offline()
    on = machine("torch", "sentence-transformers", "hnswlib", "bm25s")
    paths, active = installed()
    embedder = Embedder.load(active.embedder_dir(paths))
    folder = active.reranker_dir(paths)
    reranker = Reranker.load(folder, base_folder=active.embedder_dir(paths)) if folder else None
    systems = [name for name, (_, rerank) in SYSTEMS.items() if reranker or not rerank]
    asked = Asked.read()
    rows, words, result = [], [], {}
    for phrasings in INDEXED[chosen.phrasings]:
        name = "with other phrasings" if phrasings else "questions and answers only"
        note(f"building an index, {name}")
        with retriever_over(embedder, reranker, phrasings=phrasings) as retriever:
            for system in systems:
                got, late = measure(retriever, asked, system)
                rows.append([f"{system}, {name}", *map(_text, asdict(got).values())])
                result[f"{system}, {name}"] = {**asdict(got), "not in the first 5": late}
            kept, refused = gate(retriever, asked)
        words.append(
            f"The gate, {name}: lets through {kept:.0%} of the questions that have a card, "
            f"refuses {refused:.0%} of the {len(asked.unanswerable)} that have none."
        )
    about = (
        f"{len(load_cards())} cards; {len(asked.labelled)} questions with a right card, "
        f"{asked.without_card} for which no card was written. In brackets 95% intervals."
    )
    figures_table = table(["", "recall@1", "recall@5", "MRR@10"], rows)
    report("Finding the right card", on, [about, figures_table, *words], result, chosen.output)


if __name__ == "__main__":
    main()
