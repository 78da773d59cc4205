"""What re-ranking adds to hybrid search, on public questions that no adapter here was trained on.

MedQuAD: 1,000 questions of the dev side, each with its own answer to be found among all 16,375
(the questions are not indexed). Medication QA: consumer questions, each with its own answer to be
found among those and MedQuAD's. LiveQA: consumer questions with graded MedQuAD passages, question
and answer indexed. The data lies in the folder that MEDQA_BENCH_DATA names, the embedding model in
MEDQA_HOME; passages are embedded once and kept in its cache.

First stage: cosine + 0.1 x BM25 / the greatest BM25. On LiveQA the cosine is the mean of those with
a passage's question and with its answer.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import installed, machine, note, parser, report, table

from medqa_tui.models.shipped import shipped_folder
from medqa_tui.offline import go_offline
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.lexical import LexicalIndex
from medqa_tui.retrieval.reranker import Reranker, fused
from medqa_tui.training.mining import hybrid
from medqa_tui.training.vectors import VectorCache

SETS = ("medquad", "medication", "liveqa")
_RESAMPLES = 2000
_TOP = 10


@dataclass(frozen=True, slots=True)
class Query:
    """A question, the gain of each position that answers it, and what the first stage found.

    Attributes:
        found: Positions, best first.
        retrieved: Their first-stage scores.
    """

    text: str
    gains: dict[int, float]
    found: tuple[int, ...]
    retrieved: tuple[float, ...]


def read_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Bench:
    """The pools, searched."""

    def __init__(self, data: Path, cache: VectorCache, keep: int, most: int) -> None:
        self._data = data
        self._cache = cache
        self._keep = keep
        self._most = most
        self.rows = read_lines(data / "medquad.jsonl.gz")
        self._at = {row["id"]: n for n, row in enumerate(self.rows)}
        self.answers = [row["answer"] for row in self.rows]

    def encode(self, texts: list[str]) -> Any:
        def tell(done: int, total: int) -> None:
            note(f"embedded {done} of {total}")

        return self._cache.encode(texts, tell)

    def medquad(self) -> tuple[list[Query], list[str]]:
        ids = (self._data / "medquad_dev_sample.txt").read_text(encoding="utf-8").split()
        rows = [self._at[i] for i in ids]
        asked = [self.rows[n]["question"] for n in rows]
        return self._search(asked, [{n: 1.0} for n in rows], self.answers), self.answers

    def medication(self) -> tuple[list[Query], list[str]]:
        rows = read_lines(self._data / "medication_qa_2019.jsonl.gz")
        pool = self.answers + [row["answer"] or "" for row in rows]
        first = len(self.answers)
        gains = [{first + n: 1.0} for n in range(len(rows))]
        return self._search([row["question"] for row in rows], gains, pool), pool

    def liveqa(self) -> tuple[list[Query], list[str]]:
        grades: dict[str, dict[int, float]] = {}
        with (self._data / "liveqa_dev_qrels.tsv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                grades.setdefault(row["query_id"], {})[self._at[row["doc_id"]]] = (
                    float(row["label"]) - 1
                )
        asked = {
            row["id"]: row["summary"]
            for row in read_lines(self._data / "liveqa_dev_queries.jsonl.gz")
            if any(gain > 0 for gain in grades.get(row["id"], {}).values())
        }
        pool = [f"{row['question']}\n{row['answer']}" for row in self.rows]
        headings = [row["question"] for row in self.rows]
        gains = [grades[name] for name in asked]
        return self._search(list(asked.values()), gains, pool, headings), pool

    def _search(
        self,
        asked: list[str],
        gains: list[dict[int, float]],
        pool: list[str],
        headings: list[str] | None = None,
    ) -> list[Query]:
        asked, gains = asked[: self._most or None], gains[: self._most or None]
        if headings is None:
            passages = self.encode(pool)
        else:
            passages = (self.encode(self.answers) + self.encode(headings)) / 2
        vectors, words = self.encode(asked), LexicalIndex.build(pool)
        queries = []
        for text, vector, gain in zip(asked, vectors, gains, strict=True):
            scores = hybrid(passages @ vector, words.scores(text))
            order = np.argsort(-scores, kind="stable")[: self._keep]
            found = tuple(int(n) for n in order)
            queries.append(Query(text, gain, found, tuple(float(scores[n]) for n in order)))
        return queries


def reordered(query: Query, by: Sequence[float]) -> list[int]:
    """Return the positions with the first `len(by)` in the order of `by`, the rest as found."""
    head = sorted(range(len(by)), key=lambda n: -by[n])
    return [query.found[n] for n in head] + list(query.found[len(by) :])


def reciprocal_rank(query: Query, order: Sequence[int]) -> float:
    ranks = [n for n, position in enumerate(order[:_TOP], 1) if query.gains.get(position, 0) > 0]
    return 1 / ranks[0] if ranks else 0.0


def recall(query: Query, order: Sequence[int]) -> float:
    return float(any(query.gains.get(position, 0) > 0 for position in order[:_TOP]))


def ndcg(query: Query, order: Sequence[int]) -> float:
    def of(gains: Sequence[float]) -> float:
        return sum(gain / math.log2(n + 1) for n, gain in enumerate(gains[:_TOP], 1))

    best = of(sorted(query.gains.values(), reverse=True))
    return of([query.gains.get(position, 0.0) for position in order]) / best


def paired(after: Sequence[float], before: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean difference and its 95% interval by the paired bootstrap (Efron 1979)."""
    draw = random.Random(0)
    gaps = [a - b for a, b in zip(after, before, strict=True)]
    means = sorted(statistics.fmean(draw.choices(gaps, k=len(gaps))) for _ in range(_RESAMPLES))
    return statistics.fmean(gaps), means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES)]


def measure(
    name: str, queries: list[Query], pool: list[str], reranker: Reranker, depths: Sequence[int]
) -> tuple[list[list[str]], dict[str, Any]]:
    """Return table rows and figures of one set: before, and re-ranked at each depth."""
    measures = {"nDCG@10": ndcg} if name == "liveqa" else {"MRR@10": reciprocal_rank}
    measures["R@10"] = recall
    deepest = max(depths)
    began = time.monotonic()
    scores = []
    for done, query in enumerate(queries, 1):
        scores.append(reranker.score(query.text, [pool[n] for n in query.found[:deepest]]))
        if done % 50 == 0:
            note(f"{name}: {done} of {len(queries)} questions")
    rate = sum(map(len, scores)) / (time.monotonic() - began)
    note(f"{name}: {rate:.0f} pairs/s")
    result: dict[str, Any] = {"queries": len(queries), "pairs_per_second": rate}
    main, value = next(iter(measures.items()))
    before = [value(query, query.found) for query in queries]
    systems: dict[str, list[list[int]]] = {"first stage": [list(q.found) for q in queries]}
    for depth in depths:
        for label, weight in (("re-ranker alone", 0.0), ("both", reranker.retrieval_weight)):
            systems[f"{label}, depth {depth}"] = [
                reordered(query, fused(own[:depth], query.retrieved[:depth], weight))
                for query, own in zip(queries, scores, strict=True)
            ]
    rows = []
    for system, orders in systems.items():
        pairs = list(zip(queries, orders, strict=True))
        own = {m: statistics.fmean(f(q, o) for q, o in pairs) for m, f in measures.items()}
        gain = paired([value(q, o) for q, o in pairs], before)
        result[system] = {**own, "gain": gain}
        shown = "-" if system == "first stage" else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain)
        rows.append([f"{name}: {system}", *(f"{figure:.3f}" for figure in own.values()), shown])
    note(f"{name}: {main} " + ", ".join(" ".join(row[0:2]) for row in rows))
    return rows, result


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    options.add_argument("--depth", nargs="+", type=int, default=[16], help="passages scored")
    options.add_argument("--queries", type=int, default=0, help="only so many; 0 for all")
    options.add_argument("--reranker", default="medqa-rerank", help="a shipped name or a folder")
    chosen = options.parse_args()
    data = os.environ.get("MEDQA_BENCH_DATA")
    if not data:
        raise SystemExit("MEDQA_BENCH_DATA names no folder with the public question sets.")
    go_offline()
    on = machine("torch", "transformers", "bm25s")
    paths, active = installed()
    base = active.embedder_dir(paths)
    folder = shipped_folder(chosen.reranker) or Path(chosen.reranker)
    reranker = Reranker.load(folder, base_folder=base)
    cache = VectorCache(paths.cache / "training" / "vectors", Embedder.load(base))
    bench = Bench(Path(data), cache, max(50, *chosen.depth), chosen.queries)
    rows, result = [], {}
    for name in chosen.sets:
        note(f"searching {name}")
        queries, pool = getattr(bench, name)()
        more, result[name] = measure(name, queries, pool, reranker, chosen.depth)
        rows += more
    reading = reranker.reading
    about = (
        f"{folder.name}, {reading.max_tokens} tokens a pair, retrieval weight "
        f"{reading.retrieval_weight:g}. In brackets 95% intervals of the paired difference."
    )
    head = ["", "MRR@10 (LiveQA: nDCG@10)", "R@10", "more than the first stage"]
    report("Re-ranking", on, [about, table(head, rows)], result, chosen.output)


if __name__ == "__main__":
    main()
