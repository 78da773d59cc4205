"""From what was found for the cards to what is learnt, and to questions that choose a bound.

    python lessons.py --found cards.jsonl --output train.jsonl --dev dev.jsonl

`train.jsonl` is for `medqa-tui train generator --preset starter --data train.jsonl`: what is learnt
is to quote as the program's extractive generator does, and to say where there is no answer. The
questions of `dev.jsonl` are for `medqa-tui adapter compare --data dev.jsonl`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

from medqa_tui.domain import Evidence
from medqa_tui.evaluation.cases import read_evidence
from medqa_tui.evaluation.heldout_cards import MAY_ANSWER
from medqa_tui.generation.extractive import select
from medqa_tui.grounding.citations import format_marks
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.models import active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder

Row = dict[str, Any]

# A topic in ten measures: the bound on declining is chosen there.
DEV = 10
# Evidence answers where a sentence comes this near (cosine) to the first one of the card's answer,
# which states it; it does not where none comes near. What is between is not learnt from.
ANSWERED = 0.74
# Words of all passages of a lesson: longer ones take most of the time.
MOST_WORDS = 320
# What is drawn of the lessons, so that a run takes a quarter of an hour on two cores.
ANSWERABLE, SILENT = 380, 24


class Chooser:
    """Quotes as the program does, with its own embedder, and tells what evidence answers."""

    def __init__(self) -> None:
        paths = get_paths()
        installed = active.load_active(paths)
        if installed is None:
            raise SystemExit("Set up the starter profile first: medqa-tui setup")
        self._embedder = Embedder.load(installed.embedder_dir(paths))

    def quotes(self, question: str, evidence: Sequence[Evidence]) -> str:
        """Return the sentences that are quoted, each cited; empty if none is worth it."""
        chosen = select(question, evidence, self._embedder.encode)
        return " ".join(f"{each.text} {format_marks((each.evidence.n,))}" for each in chosen)

    def sureness(self, row: Row, evidence: Sequence[Evidence]) -> float:
        """Return how near a sentence comes to the one that states the answer."""
        texts = sorted({s for item in evidence for s in split_sentences(item.passage.text)})
        rows = self._embedder.encode([split_sentences(row["answer"])[0], *texts])
        return float((rows[1:] @ rows[0]).max())


def measures(row: Row) -> bool:
    """Return whether the card's topic is one of those that measure."""
    return int(hashlib.sha256(row["topic"].encode()).hexdigest(), 16) % DEV == 0


def found_for(row: Row) -> Iterator[tuple[str, Row, tuple[Evidence, ...]]]:
    """Yield what each search found for a card, if anything."""
    for kind in ("with", "none", "wrong"):
        found = row.get(kind)
        if found and found["evidence"]:
            yield kind, found, read_evidence(found["evidence"])


def answers(row: Row, evidence: Sequence[Evidence], chooser: Chooser) -> bool | None:
    """Return whether the evidence answers the card's question; None if that is not sure."""
    sure = chooser.sureness(row, evidence)
    return True if sure >= ANSWERED else False if sure < MAY_ANSWER else None


def lessons(row: Row, chooser: Chooser) -> Iterator[Row]:
    """Yield what is learnt of one card."""
    for kind, found, evidence in found_for(row):
        if sum(len(item.passage.text.split()) for item in evidence) > MOST_WORDS:
            continue
        answered = kind == "with"
        if answered:
            answer = chooser.quotes(row["question"], evidence) if found["relevant"] else ""
        else:
            answer = "(nothing)" if answers(row, evidence, chooser) is False else ""
        if answer:
            yield {
                "question": row["question"],
                "title": row["topic"],
                "answer": answer,
                "answerable": answered,
                "evidence": found["evidence"],
            }


def drawn(made: Sequence[Row]) -> list[Row]:
    """Return as many lessons of each kind as are wanted, mixed."""
    draw = random.Random(0)
    kinds = ([e for e in made if e["answerable"]], [e for e in made if not e["answerable"]])
    for kind in kinds:
        draw.shuffle(kind)
    learnt = kinds[0][:ANSWERABLE] + kinds[1][:SILENT]
    draw.shuffle(learnt)
    return learnt


def cases(row: Row, chooser: Chooser) -> Iterator[Row]:
    """Yield the questions to compare systems on that one card gives."""
    for kind, found, evidence in found_for(row):
        answered = answers(row, evidence, chooser)
        if answered is not None:
            yield {
                "id": f"{row['id']}/{kind}",
                "question": row["question"],
                "reference": row["answer"],
                "evidence": found["evidence"],
                "answerable": answered,
                "relevant": found["relevant"],
                "close": found["close"],
            }


def write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--found", type=Path, required=True, help="what evidence.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="what is learnt")
    parser.add_argument("--dev", type=Path, required=True, help="questions on the other topics")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.found.read_text(encoding="utf-8").splitlines()]
    chooser = Chooser()
    learnt = drawn([e for row in rows if not measures(row) for e in lessons(row, chooser)])
    dev = [case for row in rows if measures(row) for case in cases(row, chooser)]
    write(options.output, learnt)
    write(options.dev, dev)
    for name, made in (("to learn from", learnt), ("that measure", dev)):
        silent = sum(not each["answerable"] for each in made)
        print(f"{len(made)} {name}, {silent} of them unanswerable")


if __name__ == "__main__":
    main()
