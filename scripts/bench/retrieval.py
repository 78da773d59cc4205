"""How well the search finds answers: MedQuAD, Medication QA and LiveQA, part by part.

1. MedQuAD: a question of the development sample finds its own answer, among all answers, with no
   question indexed; MRR@10 and recall@10. 2. The same, where any row with the identical question
   counts. 3. Medication QA: a question finds its own answer among those of both sets. 4. LiveQA:
   questions and answers indexed, nDCG@10 with gain label - 1. 5. The same with answers alone.

The arms are those of the program, over an index that it builds; each row is compared with the
better arm by a paired bootstrap over the questions. `--rerank DEPTH` adds the re-ranker, which is
compared with this program without it; `--brief` leaves the program's parts out. `--work FOLDER`
keeps the indexes: encoding takes most of the time. The data are in the folder that MEDQA_BENCH_DATA
names.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from _common import home, installed, machine, note, parser, report, table

from medqa_tui.config.schema import RetrievalSettings
from medqa_tui.corpus.chunk import chunk_text
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.models.shipped import shipped_folder
from medqa_tui.offline import go_offline
from medqa_tui.retrieval import fusion, reading
from medqa_tui.retrieval.embedder import Embedder, EmbedderIdentity
from medqa_tui.retrieval.index import build_index, verify_index
from medqa_tui.retrieval.reranker import Reranker
from medqa_tui.retrieval.retriever import Mode, Retriever

DEPTH = 10
# A document of many chunks fills several places.
_PASSAGES = 30
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the table: an arm, or a fusion with some of its parts.

    Attributes:
        weights: Names of weights in `fusion`, and what they are for this row.
        share: What BM25 weighs if the best score of each query counts 1; None: it is not scaled.
        explained: Whether lay words of a question are explained before it is searched for.
        depth: How many passages are re-ranked.
    """

    name: str
    mode: Mode
    by: str = "scores"
    weights: Mapping[str, float] | None = None
    share: float | None = None
    explained: bool = True
    depth: int = 0


OURS = "this program"
WAYS = (
    Way("BM25", "bm25"),
    Way("dense", "dense"),
    Way("plain RRF, k 60", "hybrid", by="rrf"),
    Way(
        "cosine + .1 max-normalised BM25",
        "hybrid",
        weights={"PAIRS_WEIGHT": 0.0, "CROWDING_WEIGHT": 0.0},
        share=0.1,
    ),
    Way(
        "cosine + BM25",
        "hybrid",
        weights={"PAIRS_WEIGHT": 0.0, "CROWDING_WEIGHT": 0.0},
    ),
    Way("cosine + BM25 + pairs", "hybrid", weights={"CROWDING_WEIGHT": 0.0}),
    Way("cosine + BM25 - crowding", "hybrid", weights={"PAIRS_WEIGHT": 0.0}),
    Way("cosine - crowding", "hybrid", weights={"BM25_WEIGHT": 0.0, "PAIRS_WEIGHT": 0.0}),
    Way("this program, lay words not explained", "hybrid", explained=False),
    Way(OURS, "hybrid"),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """Queries, an index to search, and what a ranking of documents is worth for a query."""

    name: str
    index: str
    queries: Mapping[str, str]
    value: Callable[[str, list[str]], float]
    recall: Callable[[str, list[str]], float] | None = None


class Remembering:
    """An embedder that embeds a query once, however many ways it is searched."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._queries: dict[str, Any] = {}
        self.encode = embedder.encode
        self.knows = embedder.knows

    @property
    def identity(self) -> EmbedderIdentity:
        return self._embedder.identity

    def encode_query(self, query: str) -> Any:
        if query not in self._queries:
            self._queries[query] = self._embedder.encode_query(query)
        return self._queries[query]


class RememberingReranker:
    """A re-ranker that scores a pair once, however many depths are measured."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._pairs: dict[tuple[str, str], float] = {}
        self.depth = reranker.depth
        self.blend = reranker.blend

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        new = [text for text in texts if (query, text) not in self._pairs]
        for text, score in zip(new, self._reranker.score(query, new), strict=True):
            self._pairs[query, text] = score
        return [self._pairs[query, text] for text in texts]


def read(name: str) -> list[dict[str, Any]]:
    """Return the records of one file of the benchmark's data."""
    with gzip.open(data() / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def data() -> Path:
    """Return the folder of the data, or end with a word about it."""
    folder = os.environ.get("MEDQA_BENCH_DATA", "")
    if not folder or not (Path(folder) / "medquad.jsonl.gz").is_file():
        sys.exit("MEDQA_BENCH_DATA names no folder with medquad.jsonl.gz in it.")
    return Path(folder)


def passages(
    corpus: str, rows: Iterable[Mapping[str, Any]], questions: bool
) -> Iterator[PassageRecord]:
    """Yield the answers of `rows` as passages, with their questions or without."""
    for row in rows:
        question = str(row["question"]) if questions else None
        for n, text in enumerate(chunk_text(row["answer"] or "")):
            name = f"{corpus}:{row['id']}#{n}"
            yield PassageRecord(Passage(name, corpus, row["id"], "", text, question))


@contextmanager
def index_of(
    name: str,
    work: Path,
    embedder: Remembering,
    reranker: RememberingReranker | None,
    corpora: Mapping[str, Iterable[PassageRecord]],
) -> Iterator[Callable[[Way], Retriever]]:
    """Build an index, or bring it up to date, and open it for one way of searching."""
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    with CorpusStore(folder / "corpora.db") as store:
        for corpus, records in corpora.items():
            store.replace(CorpusInfo(corpus), records)

        def told(done: int, total: int) -> None:
            note(f"{name}: {done} of {total} texts have their vector")

        if verify_index(folder / "index", store, embedder):
            build_index(store, embedder, folder / "index", told)
        opened: dict[tuple[str, int], Retriever] = {}

        def open_for(way: Way) -> Retriever:
            if (way.by, way.depth) not in opened:
                settings = RetrievalSettings(fusion=way.by, rerank_depth=way.depth)
                opened[way.by, way.depth] = Retriever.open(
                    folder / "index", store, embedder, reranker, settings
                )
            return opened[way.by, way.depth]

        yield open_for


@contextmanager
def weighted(way: Way) -> Iterator[None]:
    """Give the parts of the fused score the weights of `way` for a while."""
    with ExitStack() as changed:
        for name, value in (way.weights or {}).items():
            changed.enter_context(patch.object(fusion, name, value))
        if not way.explained:
            changed.enter_context(patch.object(reading, "explained", lambda *_: ()))
        yield


def ranking(retriever: Retriever, query: str, way: Way) -> list[str]:
    """Return the first documents, `corpus:id`, best first, each once."""
    if way.share is None:
        rerank = way.depth > 0
        found = retriever.search(query, _PASSAGES, mode=way.mode, rerank=rerank).evidence
    else:
        best = retriever.search(query, 1, mode="bm25", rerank=False).evidence
        weight = way.share / best[0].scores.bm25 if best else 0.0
        with patch.object(fusion, "BM25_WEIGHT", weight):
            found = retriever.search(query, _PASSAGES, mode=way.mode, rerank=False).evidence
    names = dict.fromkeys(f"{i.passage.corpus}:{i.passage.document}" for i in found)
    return list(names)[:DEPTH]


def reciprocal(right: Mapping[str, frozenset[str]]) -> Callable[[str, list[str]], float]:
    """Return the reciprocal rank of the first right document."""

    def value(query: str, found: list[str]) -> float:
        ranks = (n for n, name in enumerate(found, 1) if name in right[query])
        return next((1 / rank for rank in ranks), 0.0)

    return value


def recall(right: Mapping[str, frozenset[str]]) -> Callable[[str, list[str]], float]:
    """Return whether a right document is among the first."""
    return lambda query, found: float(any(name in right[query] for name in found))


def ndcg(gains: Mapping[str, Mapping[str, int]]) -> Callable[[str, list[str]], float]:
    """Return the normalised discounted cumulative gain (Jarvelin and Kekalainen, 2002)."""

    def dcg(values: Iterable[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values, 1))

    def value(query: str, found: list[str]) -> float:
        judged = gains[query]
        best = sorted(judged.values(), reverse=True)[:DEPTH]
        return dcg(judged.get(name, 0) for name in found) / dcg(best)

    return value


def measures(rows: list[dict[str, Any]], meds: list[dict[str, Any]]) -> list[Measure]:
    """Return the measures, in their order."""
    by_id = {row["id"]: row for row in rows}
    sample = (data() / "medquad_dev_sample.txt").read_text(encoding="utf-8").split()
    alike: dict[str, set[str]] = {}
    for row in rows:
        alike.setdefault(_plain(row["question"]), set()).add(f"medquad:{row['id']}")
    asked = {name: str(by_id[name]["question"]) for name in sample}
    own = {name: frozenset([f"medquad:{name}"]) for name in sample}
    any_row = {name: frozenset(alike[_plain(text)]) for name, text in asked.items()}
    meds_asked = {row["id"]: str(row["question"]) for row in meds}
    meds_own = {row["id"]: frozenset([f"medication:{row['id']}"]) for row in meds}
    gains = liveqa_gains()
    lay = {q["id"]: q["summary"] for q in read("liveqa_dev_queries.jsonl.gz") if q["id"] in gains}
    return [
        Measure("MedQuAD, own answer", "answers", asked, reciprocal(own), recall(own)),
        Measure("MedQuAD, any such question", "answers", asked, reciprocal(any_row)),
        Measure(
            *("Medication QA", "both", meds_asked, reciprocal(meds_own)), recall=recall(meds_own)
        ),
        Measure("LiveQA, nDCG@10", "questions", lay, ndcg(gains)),
        Measure("LiveQA, no question indexed", "answers", lay, ndcg(gains)),
    ]


def first(measure: Measure, count: int) -> Measure:
    """Return a measure of its first `count` queries."""
    return replace(measure, queries=dict(islice(measure.queries.items(), count)))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def liveqa_gains() -> dict[str, dict[str, int]]:
    """Return query -> document -> gain, of the queries that have a relevant answer."""
    found: dict[str, dict[str, int]] = {}
    with (data() / "liveqa_dev_qrels.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            gain = int(row["label"]) - 1
            found.setdefault(row["query_id"], {})[f"medquad:{row['doc_id']}"] = gain
    return {query: judged for query, judged in found.items() if max(judged.values()) > 0}


def difference(values: list[float], against: list[float]) -> tuple[float, float, float]:
    """Return the mean difference and its 95% interval by the paired bootstrap (Efron 1979)."""
    gaps = np.asarray(values) - np.asarray(against)
    draw = np.random.default_rng(0)
    means = gaps[draw.integers(0, len(gaps), (_RESAMPLES, len(gaps)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)


def measured(
    measure: Measure,
    ways: Sequence[Way],
    open_for: Callable[[Way], Retriever],
    known: dict[tuple[str, str, str], list[str]],
) -> dict[str, tuple[list[float], list[float]]]:
    """Return, of each way, the value and the recall of every query; `known` keeps the lists."""
    found = {}
    for way in ways:
        retriever = open_for(way)
        with weighted(way):
            for query, text in measure.queries.items():
                if (measure.index, way.name, query) not in known:
                    found_now = ranking(retriever, text, way)
                    known[measure.index, way.name, query] = found_now
        lists = {query: known[measure.index, way.name, query] for query in measure.queries}
        values = [measure.value(query, names) for query, names in lists.items()]
        hits = [measure.recall(q, names) for q, names in lists.items()] if measure.recall else []
        found[way.name] = (values, hits)
        note(f"{measure.name}: {way.name} {np.mean(values):.3f}")
    return found


def cells(found: dict[str, tuple[list[float], list[float]]], ways: Sequence[Way]) -> dict[str, str]:
    """Return each way's mean, recall, and what it is above the better arm.

    What is re-ranked is compared with what was re-ranked.
    """
    better = max(("BM25", "dense"), key=lambda name: float(np.mean(found[name][0])))
    shown = {}
    for way in ways:
        name, (values, hits) = way.name, found[way.name]
        text = f"{np.mean(values):.3f}" + (f" / {np.mean(hits):.3f}" if hits else "")
        if name not in {"BM25", "dense"}:
            against = OURS if way.depth else better
            gap, low, high = difference(values, found[against][0])
            text += f" ({gap:+.3f} [{low:+.3f}, {high:+.3f}])"
        shown[name] = text
    return shown


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--work", type=Path, help="folder that keeps the indexes")
    options.add_argument("--measures", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    options.add_argument("--rerank", type=int, nargs="*", default=[], help="passages re-ranked")
    options.add_argument("--reranker", default="medqa-rerank", help="a shipped name or a folder")
    options.add_argument("--brief", action="store_true", help="only both arms and this program")
    options.add_argument("--queries", type=int, help="only the first so many of each measure")
    chosen = options.parse_args()
    home()
    go_offline()
    on = machine("torch", "sentence-transformers", "hnswlib", "bm25s")
    paths, active = installed()
    base = active.embedder_dir(paths)
    embedder = Remembering(Embedder.load(base))
    folder = shipped_folder(chosen.reranker) or Path(chosen.reranker)
    reranker = (
        RememberingReranker(Reranker.load(folder, base_folder=base)) if chosen.rerank else None
    )
    reranked = [Way(f"re-ranked, depth {n}", "hybrid", depth=n) for n in sorted(chosen.rerank)]
    plain = [way for way in WAYS if not chosen.brief or way.name in {"BM25", "dense", OURS}]
    ways = [*plain, *reranked]
    rows, meds = read("medquad.jsonl.gz"), read("medication_qa_2019.jsonl.gz")
    columns: dict[str, dict[str, str]] = {}
    known: dict[tuple[str, str, str], list[str]] = {}
    with TemporaryDirectory(prefix="medqa-bench-") as temporary:
        work = chosen.work or Path(temporary)
        wanted = [m for n, m in enumerate(measures(rows, meds), 1) if n in chosen.measures]
        if chosen.queries:
            wanted = [first(measure, chosen.queries) for measure in wanted]
        for name in dict.fromkeys(measure.index for measure in wanted):
            corpora = {"medquad": passages("medquad", rows, questions=name == "questions")}
            if name == "both":
                corpora["medication"] = passages("medication", meds, questions=False)
            with index_of(name, work, embedder, reranker, corpora) as open_for:
                for measure in wanted:
                    if measure.index == name:
                        values = measured(measure, ways, open_for, known)
                        columns[measure.name] = cells(values, ways)
    lines = [[way.name, *(column[way.name] for column in columns.values())] for way in ways]
    about = (
        "MRR@10 / recall@10, and nDCG@10 for LiveQA; in brackets the difference from the better of "
        "BM25 and dense, with its 95% interval; of what is re-ranked, from this program without it."
    )
    report("Finding answers", on, [about, table(["", *columns], lines)], columns, chosen.output)


if __name__ == "__main__":
    main()
