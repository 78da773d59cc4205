"""Training examples for the starter adapter: MedQuAD rows as evidence, our sentences as targets.

Rows come from MedQuAD's train split only (CC BY 4.0, Ben Abacha and Demner-Fushman, 2019); a row,
or a passage beside it, that touches a held-out topic is refused. The targets file names rows and
word counts; the text of the evidence is cut from the data set itself.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medqa_tui.corpus.heldout import read_heldout
from medqa_tui.domain import Evidence, Passage
from medqa_tui.generation.prompt import ABSTAIN
from medqa_tui.grounding.citations import parse
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.words import content_stems

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the evidence in the order it is shown, and the answer to learn."""

    row: str
    question: str
    answer: str
    evidence: tuple[Evidence, ...]


def read_examples(targets: Path, data: Path) -> list[Example]:
    """Return the examples that the targets file describes.

    Args:
        targets: JSON lines: row, question, answer, and passages as [row, words] in shown order.
        data: The folder with MedQuAD, its split and the held-out topics.

    Raises:
        SystemExit: A row is not in the train split, or an example touches a held-out topic.
    """
    rows = {row["id"]: row for row in read_rows(data)}
    split, heldout = read_split(data), heldout_pattern(data)
    examples = []
    for line in targets.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        named = [record["row"], *(row for row, _ in record["passages"])]
        strangers = [row for row in named if split.get(row) != "train"]
        if strangers:
            raise SystemExit(f"Not in the train split: {', '.join(strangers)}")
        evidence = tuple(
            Evidence(n, _passage(rows[row], words))
            for n, (row, words) in enumerate(record["passages"], start=1)
        )
        example = Example(record["row"], record["question"], record["answer"], evidence)
        betrayed = heldout.search(_everything(example, rows[record["row"]]))
        if betrayed:
            raise SystemExit(f"{record['row']} touches a held-out topic: {betrayed.group(0)}")
        examples.append(example)
    return examples


def _passage(row: Row, words: int) -> Passage:
    return Passage(
        id=f"medquad:{row['id']}#0",
        corpus="medquad",
        document=row["id"],
        title=row["focus"],
        text=window(row["answer"], words),
        question=row["question"],
        url=row["url"],
    )


def _everything(example: Example, row: Row) -> str:
    shown = " ".join(f"{e.passage.title} {e.passage.text}" for e in example.evidence)
    return f"{row['question']} {row['focus']} {example.question} {example.answer} {shown}"


def read_rows(data: Path) -> list[Row]:
    with gzip.open(data / "medquad.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_split(data: Path) -> dict[str, str]:
    lines = (data / "medquad_split.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t")[:2] for line in lines[1:])


def split_hash(data: Path) -> str:
    """Return the SHA-256 of the split file, which the adapter's card records."""
    return hashlib.sha256((data / "medquad_split.tsv").read_bytes()).hexdigest()


def heldout_pattern(data: Path) -> re.Pattern[str]:
    """Return what matches any word that betrays a held-out topic."""
    topics = read_heldout(data / "heldout_topics.txt").values()
    return re.compile("|".join(topic.pattern for topic in topics), re.I)


def tidy(text: str) -> str:
    """Return the text on one line, its bullet lists as one sentence each."""
    parts: list[str] = []
    listing = False
    for raw in text.split("\n"):
        line = re.sub(r"\s+", " ", raw).strip()
        bullet = re.match(r"[-*\u2022]\s*(.+)", line)
        if not line:
            continue
        if bullet is None:
            parts.append(line)
            listing = False
            continue
        item = bullet.group(1).rstrip(" .;,")
        if not parts or (parts[-1].endswith(".") and not listing):
            parts.append(item + ".")
        elif listing:
            parts[-1] = f"{parts[-1][:-1]}; {item}."
        else:
            parts[-1] = f"{parts[-1].rstrip(' :')}: {item}."
        listing = True
    return re.sub(r"\s+", " ", " ".join(parts))


def window(text: str, words: int) -> str:
    """Return the leading whole sentences of about `words` words."""
    kept: list[str] = []
    length = 0
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", tidy(text)):
        count = len(sentence.split())
        if kept and length + count > words:
            break
        kept.append(sentence)
        length += count
        if length >= words:
            break
    return " ".join(" ".join(kept).split()[: words + 15])


# A source sentence stands for a written one if they share this much and it is of a fair length.
_LIKE = 0.25
_WORDS = range(5, 35)


def quoted(example: Example, near: float = 1.0) -> Example:
    """Return the example with each written sentence replaced by the one it was written from.

    A 135M model copies and shortens far better than it rewrites: it learns from these which
    sentences answer. A sentence without a source that is like enough stays as it was written, and
    so does one that is near its source: of whose words, in order, the source holds a share of at
    least `near`.
    """
    if example.answer == ABSTAIN:
        return example
    texts: list[str] = []
    for sentence in split_sentences(example.answer):
        written, cited = parse(sentence)
        text, n = _source(example, written, cited)
        marked = f"{written if _nearness(written, text) >= near else text} [{n}]"
        if marked not in texts:
            texts.append(marked)
    return replace(example, answer=" ".join(texts))


def _nearness(written: str, source: str) -> float:
    """Return the share of the written words that stand in the source in the same order."""
    mine, theirs = (re.findall(r"[a-z0-9]+", text.lower()) for text in (written, source))
    lengths = [0] * (len(theirs) + 1)
    for word in mine:
        before = lengths
        lengths = [0]
        for at, other in enumerate(theirs):
            both = before[at] + 1 if word == other else max(before[at + 1], lengths[at])
            lengths.append(both)
    return lengths[-1] / len(mine) if mine else 0.0


def _source(example: Example, written: str, cited: tuple[int, ...]) -> tuple[str, int]:
    wanted = content_stems(written)
    best, found = _LIKE, (written, cited[0])
    for n in cited:
        for sentence in split_sentences(example.evidence[n - 1].passage.text):
            if len(sentence.split()) not in _WORDS or sentence[-1] not in ".!":
                continue
            stems = content_stems(sentence)
            like = len(wanted & stems) / len(wanted | stems)
            if like > best:
                best, found = like, (sentence, n)
    return found


# Lengths of the passages that do not answer, in words; in use they are as long as those that do.
_BESIDE_WORDS = (45, 100)


def varied(examples: list[Example], data: Path, seed: int) -> list[Example]:
    """Return the examples with evidence of more kinds, so that its make-up betrays nothing.

    As written, an answering passage is longer than the others and has passages of other topics
    beside it, while evidence that does not answer is all of the question's topic: a model learns
    to abstain from that alone. Here a third of the answering passages stand alone, a third among
    others of their own topic, and all that does not answer varies in length.
    """
    rng = random.Random(seed)
    split, heldout = read_split(data), heldout_pattern(data)
    siblings: dict[str, list[Row]] = {}
    for row in read_rows(data):
        told = f"{row['focus']} {row['question']} {window(row['answer'], 100)}"
        if split.get(row["id"]) == "train" and not heldout.search(told):
            siblings.setdefault(row["focus"], []).append(row)
    rows = {row["id"]: row for own in siblings.values() for row in own}
    return [_varied(example, siblings, rows, rng) for example in examples]


def _varied(
    example: Example, siblings: dict[str, list[Row]], rows: dict[str, Row], rng: random.Random
) -> Example:
    cited = {n for sentence in split_sentences(example.answer) for n in parse(sentence)[1]}
    answering = [item for item in example.evidence if item.n in cited]
    beside = [item for item in example.evidence if item.n not in cited]
    kind = rng.randrange(3)
    if answering and kind == 0:
        beside = []
    elif answering and kind == 1:
        shown = {item.passage.document for item in example.evidence}
        asked = example.question.lower()
        others = [
            row
            for row in siblings.get(answering[0].passage.title, [])
            if row["id"] not in shown and row["question"].lower() not in asked
        ]
        room = max(0, 3 - len(answering))
        chosen = rng.sample(others, min(room, len(others)))
        beside = [Evidence(0, _passage(row, 85)) for row in chosen] or beside
    told = [replace(item, passage=_resized(item.passage, rows, rng)) for item in beside]
    return _renumbered(example, answering, told, rng)


def _resized(passage: Passage, rows: dict[str, Row], rng: random.Random) -> Passage:
    row = rows.get(passage.document)
    return _passage(row, rng.randint(*_BESIDE_WORDS)) if row else passage


def _renumbered(
    example: Example, answering: list[Evidence], beside: list[Evidence], rng: random.Random
) -> Example:
    shown = [*answering, *beside]
    order = list(range(len(shown)))
    rng.shuffle(order)
    evidence = tuple(Evidence(n, shown[at].passage) for n, at in enumerate(order, start=1))
    number = {item.n: order.index(at) + 1 for at, item in enumerate(answering)}
    answer = re.sub(r"\[(\d+)\]", lambda mark: f"[{number[int(mark[1])]}]", example.answer)
    return replace(example, answer=answer, evidence=evidence)


def thinned(examples: list[Example], abstaining: int, seed: int) -> list[Example]:
    """Return the examples with at most `abstaining` of those that abstain, chosen by `seed`."""
    silent = [example for example in examples if example.answer == ABSTAIN]
    kept = set(random.Random(seed).sample(range(len(silent)), min(abstaining, len(silent))))
    dropped = {example.row for i, example in enumerate(silent) if i not in kept}
    return [example for example in examples if example.row not in dropped]
