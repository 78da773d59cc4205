"""From what was found for the cards to what is learnt, and to questions that choose a bound.

    python lessons.py --found cards.jsonl --output train.jsonl --dev dev.jsonl

`train.jsonl` is for `medqa-tui train generator --preset starter --data train.jsonl`: what is learnt
is to choose sentences of the evidence, at most four of 60 words in all, that together come nearest
to the card's own answer and have to do with the question, and to say where there are none. The
questions of `dev.jsonl` are for `medqa-tui adapter compare --data dev.jsonl`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

from medqa_tui.domain import Evidence
from medqa_tui.evaluation.cases import read_evidence
from medqa_tui.evaluation.heldout_cards import MAY_ANSWER
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.models import active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.training.selecting import select_for

Row = dict[str, Any]

WORDS, SENTENCES = 60, 4
# Of F1, for a sentence as near to the question as can be: what is chosen by overlap with one
# reference alone is too much chance to be learnt from some hundred cards.
WORTH = 0.3
# A topic in ten measures: the bound on declining is chosen there.
DEV = 10
# Evidence answers where a sentence comes this near (cosine) to the first one of the card's answer,
# which states it; it does not where none comes near. What is between is not learnt from.
ANSWERED = 0.74
# Of what is learnt, the share where the evidence does not answer.
SILENT = 0.28


class Chooser:
    """Selects the sentences to quote, with the program's own embedder."""

    def __init__(self) -> None:
        paths = get_paths()
        installed = active.load_active(paths)
        if installed is None:
            raise SystemExit("Set up the starter profile first: medqa-tui setup")
        self._embedder = Embedder.load(installed.embedder_dir(paths))

    def select(self, row: Row, evidence: Sequence[Evidence]) -> str:
        """Return sentences near the answer that have to do with the question, each cited."""
        near = self._nearness(row["question"], evidence)
        return select_for(
            row["answer"],
            row["question"],
            evidence,
            words=WORDS,
            most=SENTENCES,
            worth=lambda sentence: WORTH * near.get(sentence, 0.0),
        ).text

    def sureness(self, row: Row, evidence: Sequence[Evidence]) -> float:
        """Return how near a sentence comes to the one that states the answer."""
        return max(self._nearness(split_sentences(row["answer"])[0], evidence).values())

    def _nearness(self, text: str, evidence: Sequence[Evidence]) -> dict[str, float]:
        texts = sorted({s for item in evidence for s in split_sentences(item.passage.text)})
        rows = self._embedder.encode([text, *texts])
        return dict(zip(texts, (rows[1:] @ rows[0]).tolist(), strict=True))


def thinned(made: list[Row]) -> list[Row]:
    """Return the lessons with no more of the unanswerable than wanted, evenly left out."""
    silent = [n for n, each in enumerate(made) if not each["answerable"]]
    most = round((len(made) - len(silent)) * SILENT / (1 - SILENT))
    kept = {silent[n * len(silent) // most] for n in range(min(most, len(silent)))}
    return [each for n, each in enumerate(made) if each["answerable"] or n in kept]


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
        answered = answers(row, evidence, chooser)
        if answered is None or (answered and kind != "with"):
            continue
        yield {
            "question": row["question"],
            "title": row["topic"],
            "answer": chooser.select(row, evidence) if answered else "(nothing)",
            "answerable": answered,
            "evidence": found["evidence"],
        }


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
    learnt = thinned([e for row in rows if not measures(row) for e in lessons(row, chooser)])
    dev = [case for row in rows if measures(row) for case in cases(row, chooser)]
    write(options.output, learnt)
    write(options.dev, dev)
    for name, made in (("to learn from", learnt), ("that measure", dev)):
        silent = sum(not each["answerable"] for each in made)
        print(f"{len(made)} {name}, {silent} of them unanswerable")


if __name__ == "__main__":
    main()
