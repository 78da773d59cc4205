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
    lines = (data / "heldout_topics.txt").read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if line and line[0] != "#" for word in line.split("|")]
    return re.compile(r"\b(" + "|".join(_flexible(word.strip()) for word in words) + ")", re.I)


def _flexible(words: str) -> str:
    # Short words are whole ("hiv" is not in "hives"); longer ones may be stems ("diverticul").
    pattern = r"\W+".join(re.escape(word) for word in words.split())
    return pattern + r"\b" if len(words) <= 4 else pattern


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


def quoted(example: Example) -> Example:
    """Return the example with each written sentence replaced by the one it was written from.

    A 135M model copies far better than it rewrites: it learns from these which sentences answer.
    A sentence without a source that is like enough stays as it was written.
    """
    if example.answer == ABSTAIN:
        return example
    texts: list[str] = []
    for sentence in split_sentences(example.answer):
        written, cited = parse(sentence)
        text, n = _source(example, written, cited)
        marked = f"{text} [{n}]"
        if marked not in texts:
            texts.append(marked)
    return replace(example, answer=" ".join(texts))


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


def thinned(examples: list[Example], abstaining: int, seed: int) -> list[Example]:
    """Return the examples with at most `abstaining` of those that abstain, chosen by `seed`."""
    silent = [example for example in examples if example.answer == ABSTAIN]
    kept = set(random.Random(seed).sample(range(len(silent)), min(abstaining, len(silent))))
    dropped = {example.row for i, example in enumerate(silent) if i not in kept}
    return [example for example in examples if example.row not in dropped]
