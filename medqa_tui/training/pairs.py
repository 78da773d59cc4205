"""Questions with the answers that a generator learns: cards, corpora, and files of the user's."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.corpus.clean import clean_line
from medqa_tui.domain import Evidence
from medqa_tui.errors import UsageError
from medqa_tui.training.paraphrase import Asked
from medqa_tui.training.sources import (
    MEDQUAD,
    STARTER,
    Example,
    Gate,
    Source,
    bad_row,
    folded,
    json_rows,
    of_file,
    read_source,
    text_of,
)

CORE = "core13"
NEAR = 0.5
"""Share of common 3-grams (Jaccard) from which two answers count as near-duplicates."""

_SHINGLE = 3
_FIELD = 131_072
"""Letters that a field of a table may have; no answer is so long, and a quote left open is."""

_SHAPE = "A CSV file with the columns question and answer, or one such object a line."


def read_pairs(name: str, data: Path | None, store: Path | None = None) -> Source:
    """Return the questions and answers of `core13`, `starter`, `medquad`, a corpus or a file.

    An example's text is its answer, and its group is its topic.

    Args:
        name: Also the name of an added corpus, or a JSONL or CSV file. A row of JSONL may bring the
            evidence that a search found for it, and say that this does not answer.
        data: The folder with MedQuAD and a list of held-out topics of its own.
        store: The file of the added corpora.

    Raises:
        UsageError: There is no such data, or nothing in it can be trained on.
    """
    if name in {CORE, STARTER}:
        source = _cards(name, data)
    elif name != MEDQUAD and Path(name).is_file():
        source = _file(Path(name), data)
    else:
        return read_source(name, data, store, named=(CORE,))
    if not source.examples:
        refused = sum(source.heldout.values())
        left = ", ".join(f"{count} with {why}" for why, count in source.skipped.items() if count)
        raise UsageError(
            "There is nothing to train on.",
            f"{name}: no row is left; {refused} touch held-out topics, {left or 'none else'}.",
            _SHAPE,
        )
    return source


def _cards(name: str, data: Path | None) -> Source:
    from medqa_tui.corpus.cards import LICENCE, Split, load_cards

    gate, cards = Gate(data), load_cards()
    wanted = [card for card in cards if card.core13 or name == STARTER]
    train = [card for card in wanted if card.split is Split.TRAIN]
    examples = tuple(
        Example(
            id=card.id,
            asked=Asked(card.question, card.topic),
            text=" ".join(card.answer.split()),
            heading=card.question,
            phrasings=card.phrasings,
            group=card.topic,
        )
        for card in train
        if not gate.refuses(card.question, *card.phrasings, card.answer)
    )
    digest = hashlib.sha256(repr(examples).encode()).hexdigest()
    words = "13 core cards" if name == CORE else "starter cards"
    return Source(
        name,
        examples,
        LICENCE,
        f"medqa-tui's own {words}, split train",
        {words: digest},
        gate.counts,
        {"cards of the held-out split": len(wanted) - len(train)},
    )


def _file(path: Path, data: Path | None) -> Source:
    gate, examples, empty = Gate(data), [], 0
    for number, row in _rows(path):
        if "question" not in row or "answer" not in row:
            missing = " and ".join(key for key in ("question", "answer") if key not in row)
            raise bad_row(path, f"row {number}: {missing} missing", _SHAPE)
        question, answer = clean_line(str(row["question"] or "")), str(row["answer"] or "")
        title = clean_line(str(row.get("title") or ""))
        answer = clean_line(answer)
        given = _given(path, number, row)
        read = [text for e in given for text in (e.passage.title, e.passage.text)]
        if not question or not answer:
            empty += 1
        elif not gate.refuses(title, question, answer) and not any(map(gate.refuses, read)):
            examples.append(
                Example(
                    f"{path.name}:{number}",
                    Asked(question, title),
                    answer,
                    heading=question,
                    group=title or folded(question),
                    given=given,
                    answerable=row.get("answerable") is not False,
                )
            )
    return of_file(path, examples, gate, {"no question or no answer": empty})


def _given(path: Path, number: int, row: dict[str, Any]) -> tuple[Evidence, ...]:
    """Return the evidence that a row brings, as a set to compare adapters on has it."""
    from medqa_tui.evaluation.cases import read_evidence

    try:
        return read_evidence(row["evidence"]) if row.get("evidence") else ()
    except (TypeError, KeyError, ValueError) as error:
        why = f'row {number}: "evidence" is no list of {{"title": ..., "text": ...}}'
        raise bad_row(path, why, _SHAPE) from error


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix.lower() != ".csv":
        yield from json_rows(path, _SHAPE)
        return
    # The limit is the module's, for all readers of the process.
    csv.field_size_limit(_FIELD)
    table = csv.DictReader(io.StringIO(text_of(path)))
    try:
        yield from enumerate(table, 2)
    except csv.Error as error:
        raise bad_row(path, f"after line {table.line_num}: {error}", _SHAPE) from error


@dataclass(frozen=True, slots=True)
class Parted:
    """What is trained on and what measures the run, without a topic or a text in both.

    Attributes:
        near: How many rows were left out because they nearly repeat one that measures.
        topics: How many topics measure.
    """

    train: tuple[Example, ...]
    held: tuple[Example, ...]
    near: int
    topics: int


def part(examples: Sequence[Example], count: int, seed: int) -> Parted:
    """Keep `count` examples out, at most a tenth, by topic; drop what nearly repeats them."""
    count = min(count, len(examples) // 10)
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    topics = sorted({example.group for example in examples})
    draw.shuffle(topics)
    by_topic: dict[str, list[Example]] = {}
    for example in examples:
        by_topic.setdefault(example.group, []).append(example)
    chosen: set[str] = set()
    for topic in topics:
        if sum(len(by_topic[each]) for each in chosen) >= count:
            break
        chosen.add(topic)
    rest = [example for example in examples if example.group not in chosen]
    held = [example for topic in sorted(chosen) for example in by_topic[topic]]
    signatures = [_shingles(example) for example in held]
    train = [e for e in rest if not any(_near(_shingles(e), other) for other in signatures)]
    return Parted(tuple(train), tuple(held), len(rest) - len(train), len(chosen))


def _shingles(example: Example) -> frozenset[str]:
    words = folded(f"{example.asked.question} {example.text}").split()
    count = max(1, len(words) - _SHINGLE + 1)
    return frozenset(" ".join(words[at : at + _SHINGLE]) for at in range(count))


def _near(one: frozenset[str], other: frozenset[str]) -> bool:
    # The share of common ones cannot be larger than the ratio of their numbers.
    if min(len(one), len(other)) < NEAR * max(len(one), len(other)):
        return False
    return len(one & other) >= NEAR * len(one | other)
