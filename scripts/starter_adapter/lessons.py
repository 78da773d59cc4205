"""From what was found for the cards to what is learnt, and to the questions that measure it.

    python lessons.py --found cards.jsonl --output train.jsonl --dev dev.jsonl
    python lessons.py --found heldout.jsonl --cases cases.jsonl

`train.jsonl` is for `medqa-tui train generator --preset starter --data train.jsonl`: what is learnt
is to choose sentences of the evidence, at most four of 60 words in all, that together come nearest
to the card's own answer and have to do with the question, and to say where there are none. The dev
and held-out questions are for `medqa-tui adapter compare --data`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from medqa_tui.offline import go_offline

go_offline()

from medqa_tui.domain import Evidence
from medqa_tui.evaluation.cases import read_evidence
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.models import active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.training.selecting import Selected, select_for

Row = dict[str, Any]

WORDS, SENTENCES = 60, 4
# Of F1, for a sentence as near to the question as can be: what is chosen by overlap with one
# reference alone is too much chance to be learnt from some hundred cards.
WORTH = 0.3
# A topic in ten measures: the bound on declining is chosen there.
DEV = 10
# Evidence of another topic is learnt from where its sentences come this near to the answer; it is
# taken for unanswerable only below the second.
NEAR, FAR = 0.38, 0.45
# Of what is learnt, the share where the evidence does not answer.
SILENT = 0.22


class Chooser:
    """Selects the sentences to quote, with the program's own embedder."""

    def __init__(self) -> None:
        paths = get_paths()
        installed = active.load_active(paths)
        if installed is None:
            raise SystemExit("Set up the starter profile first: medqa-tui setup")
        self._embedder = Embedder.load(installed.embedder_dir(paths))

    def near_question(self, row: Row, evidence: tuple[Evidence, ...]) -> Selected:
        """Return sentences near the answer and the question."""
        return self._selected(row, evidence, self._nearness(row["question"], evidence))

    def near_answer(self, row: Row, evidence: tuple[Evidence, ...]) -> Selected:
        """Return the sentences nearest to the answer."""
        return self._selected(row, evidence, lambda sentence: 0.0)

    def _selected(
        self, row: Row, evidence: tuple[Evidence, ...], worth: Callable[[str], float]
    ) -> Selected:
        return select_for(
            row["answer"], row["question"], evidence, words=WORDS, most=SENTENCES, worth=worth
        )

    def _nearness(self, question: str, evidence: Iterable[Evidence]) -> Callable[[str], float]:
        texts = sorted({s for item in evidence for s in split_sentences(item.passage.text)})
        rows = self._embedder.encode([question, *texts])
        cosines = dict(zip(texts, (rows[1:] @ rows[0]).tolist(), strict=True))
        return lambda sentence: WORTH * cosines.get(sentence, 0.0)


def thinned(made: list[Row]) -> list[Row]:
    """Return the lessons with no more of the unanswerable than wanted, evenly left out."""
    silent = [n for n, each in enumerate(made) if not each["answerable"]]
    most = round((len(made) - len(silent)) * SILENT / (1 - SILENT))
    kept = {silent[n * len(silent) // most] for n in range(min(most, len(silent)))}
    return [each for n, each in enumerate(made) if each["answerable"] or n in kept]


def measures(row: Row) -> bool:
    """Return whether the card's topic is one of those that measure."""
    return int(hashlib.sha256(row["topic"].encode()).hexdigest(), 16) % DEV == 0


def lessons(row: Row, chooser: Chooser, counts: Counter[str]) -> list[Row]:
    """Return what is learnt of one card."""
    made = []
    for kind in ("with", "none", "wrong"):
        found = row.get(kind)
        evidence = read_evidence(found["evidence"]) if found else ()
        if not evidence:
            continue
        best = chooser.near_answer(row, evidence).f1
        if kind == "with":
            use = found["topical"] or best >= NEAR
            answer = chooser.near_question(row, evidence).text
        else:
            use, answer = best < FAR, "(nothing)"
        counts[kind if use else f"{kind}, left out"] += 1
        if use:
            made.append(
                {
                    "question": row["question"],
                    "title": row["topic"],
                    "answer": answer,
                    "answerable": kind == "with",
                    "evidence": found["evidence"],
                }
            )
    return made


def cases(row: Row) -> list[Row]:
    """Return the questions to compare systems on that one card gives.

    `topical` tells whether a passage of the card's topic is among the evidence: without its own
    card a question is not always answered by what is found.
    """
    made = []
    for kind in ("with", "none", "wrong"):
        found = row.get(kind)
        if found and found["evidence"]:
            made.append(
                {
                    "id": f"{row['id']}/{kind}",
                    "question": row["question"],
                    "reference": row["answer"],
                    "evidence": found["evidence"],
                    "answerable": kind == "with",
                    "relevant": found["relevant"],
                    "close": found["close"],
                    "topical": found["topical"],
                }
            )
    return made


def write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--found", type=Path, required=True, help="what evidence.py wrote")
    parser.add_argument("--output", type=Path, help="what is learnt, of the other topics")
    parser.add_argument("--dev", type=Path, help="questions on the topics that measure")
    parser.add_argument("--cases", type=Path, help="questions on all topics")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.found.read_text(encoding="utf-8").splitlines()]
    counts: Counter[str] = Counter()
    if options.output:
        chooser = Chooser()
        learnt = [row for row in rows if not measures(row)]
        made = thinned([each for row in learnt for each in lessons(row, chooser, counts)])
        write(options.output, made)
        counts["lessons"] = len(made)
        print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    if options.dev:
        write(options.dev, [each for row in rows if measures(row) for each in cases(row)])
    if options.cases:
        write(options.cases, [each for row in rows for each in cases(row)])


if __name__ == "__main__":
    main()
