"""Compare the starter adapter with its base, with quoting and with the lead of the best passage.

    python scripts/starter_adapter/evaluate.py --data DATA --base FOLDER --adapter FOLDER \\
        --embedder FOLDER --output figures.json

Questions come from MedQuAD's dev split, which no training example touches. Every system reads the
same passages and is cut to the same number of words.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

from examples import Row, read_rows, read_split, tidy, window

from medqa_tui.backend import GenerateRequest, GroundRequest
from medqa_tui.domain import Evidence, GeneratorKind, Passage, Support
from medqa_tui.events import GenerationDone
from medqa_tui.generation import prompt
from medqa_tui.generation.extractive import ExtractiveGenerator
from medqa_tui.generation.local import LocalGenerator
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.support import SupportChecker

WORDS = 60
TOKENS = 160
ANSWERING_WORDS, DISTRACTOR_WORDS, WRONG_ASPECT_WORDS = 85, 45, 70
_TABLES = re.compile(
    r"Human Phenotype Ontology|You can use the MedlinePlus|table below|Key Points|These resources"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what may be read, which passage answers (0: none) and the row's own answer."""

    row: str
    question: str
    evidence: tuple[Evidence, ...]
    answering: int
    reference: str


def cases(data: Path, count: int, without: int, seed: int = 11) -> tuple[list[Case], list[Case]]:
    """Return questions whose evidence answers, and questions whose evidence does not."""
    split = read_split(data)
    rows = [
        row
        for row in read_rows(data)
        if split.get(row["id"]) == "dev"
        and len(row["answer"].split()) >= 25
        and not _TABLES.search(row["answer"][:700])
    ]
    rng = random.Random(seed)
    rng.shuffle(rows)
    beside = neighbours(rows)
    by_focus: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_focus[row["focus"]].append(row)
    answered, unanswered = [], []
    taken: Counter[str] = Counter()
    for row in rows:
        same = [other for other in by_focus[row["focus"]] if other["qtype"] != row["qtype"]]
        if len(answered) < count and taken[row["focus"]] < 2:
            others = [*rng.sample(same, min(1, len(same))), *beside(row)][:2]
            shown = [(row, ANSWERING_WORDS), *((other, DISTRACTOR_WORDS) for other in others)]
            rng.shuffle(shown)
            answered.append(case(row, shown))
            taken[row["focus"]] += 1
        elif len(unanswered) < without and same and row["qtype"] != "information":
            wrong = rng.sample(same, min(2, len(same))) + beside(row)[:1]
            unanswered.append(case(row, [(other, WRONG_ASPECT_WORDS) for other in wrong]))
    return answered, unanswered


def case(row: Row, shown: list[tuple[Row, int]]) -> Case:
    evidence = tuple(
        Evidence(
            n,
            Passage(
                id=f"medquad:{other['id']}#0",
                corpus="medquad",
                document=other["id"],
                title=other["focus"],
                text=window(other["answer"], words),
                question=other["question"],
            ),
        )
        for n, (other, words) in enumerate(shown, start=1)
    )
    answering = next((e.n for e in evidence if e.passage.document == row["id"]), 0)
    question = row["question"].replace("What is (are)", "What is")
    return Case(row["id"], question, evidence, answering, tidy(row["answer"]))


def neighbours(rows: list[Row]) -> Callable[[Row], list[Row]]:
    """Return a function that finds passages like a row's question, of other topics, by BM25."""
    import bm25s

    index = bm25s.BM25()
    texts = [f"{row['focus']} {window(row['answer'], 60)}" for row in rows]
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def find(row: Row) -> list[Row]:
        query = bm25s.tokenize([row["question"]], show_progress=False)
        found, _ = index.retrieve(query, k=12, show_progress=False)
        return [rows[i] for i in found[0] if rows[i]["focus"] != row["focus"]]

    return find


def lead(case: Case) -> str:
    """Quote the passage that retrieval would put first: here the one that answers."""
    first = case.evidence[case.answering - 1 if case.answering else 0]
    return " ".join(f"{sentence} [{first.n}]" for sentence in split_sentences(first.passage.text))


def written_by(generator: Any) -> Callable[[Case], tuple[str, bool, float]]:
    def write(case: Case) -> tuple[str, bool, float]:
        request = GenerateRequest(case.row, case.question, case.evidence, max_new_tokens=TOKENS)
        began = time.perf_counter()
        events = list(generator.stream(request, threading.Event()))
        done = events[-1]
        assert isinstance(done, GenerationDone)
        return done.text, done.finish == "abstain", time.perf_counter() - began

    return write


def cut(text: str, words: int = WORDS) -> list[str]:
    """Return the leading sentences that fit the word budget; a first one too long is clipped."""
    kept: list[str] = []
    left = words
    for sentence in split_sentences(text):
        plain = sentence.split()
        if len(plain) > left:
            return kept or [" ".join(plain[:words])]
        kept.append(sentence)
        left -= len(plain)
    return kept


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"\[\d+\]", " ", text.lower()))


def token_f1(answer: list[str], reference: list[str]) -> float:
    """Return the harmonic mean of token precision and recall, as SQuAD defines it."""
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0


def copied(answer: list[str], evidence: list[list[str]], n: int = 8) -> float:
    """Return the share of the answer's n-grams that stand in the evidence."""
    grams = [tuple(answer[i : i + n]) for i in range(len(answer) - n + 1)]
    known = {tuple(text[i : i + n]) for text in evidence for i in range(len(text) - n + 1)}
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def measure(
    cases: list[Case],
    write: Callable[[Case], tuple[str, bool, float]],
    checker: SupportChecker,
    kind: GeneratorKind,
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one system, case by case."""
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    for case in cases:
        text, abstained, seconds = write(case)
        sentences = cut(text)
        result = checker.check(
            GroundRequest(case.row, case.question, tuple(sentences), case.evidence, kind)
        )
        kept = [s for s in result.sentences if s.support is not Support.UNSUPPORTED]
        plain = " ".join(sentence.text for sentence in result.sentences)
        answer, reference = tokens(plain), tokens(" ".join(case.reference.split()[: WORDS * 2]))
        yield {
            "row": case.row,
            "question": case.question,
            "text": text,
            "abstained": abstained,
            "stands": bool(kept) and not abstained,
            "supported": len(kept) / len(result.sentences) if result.sentences else 0.0,
            "cited": sum(case.answering in s.citations for s in kept) / len(kept) if kept else 0.0,
            "own_citation": own_citations(sentences, case),
            "f1": token_f1(answer, reference),
            "rouge_l": rouge.score(" ".join(reference), " ".join(answer))["rougeL"].fmeasure,
            "copied": copied(answer, [tokens(e.passage.text) for e in case.evidence]),
            "words": len(answer),
            "seconds": seconds,
        }


def own_citations(sentences: list[str], case: Case) -> float:
    """Return the share of sentences in which the system itself named the answering passage."""
    named = [f"[{case.answering}]" in sentence for sentence in sentences]
    return sum(named) / len(named) if named else 0.0


def summary(rows: list[dict[str, Any]], unanswered: list[dict[str, Any]]) -> dict[str, float]:
    spoke = [row for row in rows if not row["abstained"]] or rows
    mean = statistics.fmean
    figures = {
        name: mean(row[name] for row in spoke)
        for name in ("f1", "rouge_l", "supported", "cited", "own_citation", "copied", "words")
    }
    figures["f1_all"] = mean(0.0 if row["abstained"] else row["f1"] for row in rows)
    figures["answered_itself"] = mean(row["stands"] for row in rows)
    figures["abstained_with_evidence"] = mean(row["abstained"] for row in rows)
    if unanswered:
        figures["abstained_without"] = mean(row["abstained"] for row in unanswered)
    figures["median_seconds"] = statistics.median(row["seconds"] for row in rows)
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--embedder", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--without", type=int, default=50)
    parser.add_argument("--systems", default="lead,extractive,base,adapter")
    options = parser.parse_args()

    from medqa_tui.retrieval.embedder import Embedder

    embedder = Embedder.load(options.embedder)
    checker = SupportChecker(embedder.encode)
    answered, unanswered = cases(options.data, options.count, options.without)

    def model(adapter: Path | None) -> Callable[[Case], tuple[str, bool, float]]:
        loaded = LocalGenerator.load(options.base, adapter, "starter", "base", device="cpu")
        return written_by(loaded)

    systems: dict[str, Callable[[], Callable[[Case], tuple[str, bool, float]]]] = {
        "lead": lambda: lambda case: (lead(case), False, 0.0),
        "extractive": lambda: written_by(ExtractiveGenerator("starter", embedder.encode)),
        "base": lambda: model(None),
        "adapter": lambda: model(options.adapter),
    }
    figures: dict[str, Any] = {"template_hash": prompt.template_hash(), "systems": {}, "rows": {}}
    for name in options.systems.split(","):
        write = systems[name]()
        rows = list(measure(answered, write, checker, GeneratorKind.MODEL))
        none = list(measure(unanswered, write, checker, GeneratorKind.MODEL))
        figures["systems"][name] = summary(rows, none)
        figures["rows"][name] = rows + none
        print(name, json.dumps(figures["systems"][name]), flush=True)
        options.output.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
