"""Where training examples come from: MedQuAD's train split, starter cards, a corpus, or a file.

Whatever the source, nothing that touches a held-out topic gets through, and it is counted.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from medqa_tui.corpus.heldout import read_heldout
from medqa_tui.domain import Evidence
from medqa_tui.errors import UsageError
from medqa_tui.models.files import sha256_file
from medqa_tui.training.paraphrase import Asked

MEDQUAD = "medquad"
STARTER = "starter"
CORPUS = "corpus:"
"""Before a name, it says that an added corpus is meant."""

MEDQUAD_FILES = ("medquad.jsonl.gz", "medquad_split.tsv", "heldout_topics.txt")
DATA_VARIABLE = "MEDQA_BENCH_DATA"
_SHAPE = 'One object a line: {"query": ..., "positive": ..., "negatives": [...]}'
READ_WORDS = 220
"""Words of a passage that are looked through: what is beyond them no model here ever reads."""


class Style(StrEnum):
    """Whether a passage is read with its question above it."""

    BARE = "bare"
    HEADED = "headed"


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the passage that answers it.

    Attributes:
        heading: The passage's own question or title, which may be shown above it.
        phrasings: Other ways to ask, written by people.
        negatives: Passages that do not answer, where the source names them.
        group: Examples of one group ask about one thing; near-duplicates share a group.
        given: The evidence to answer from, as a search found it, where the source has it. The text
            is then what a good answer says, and not itself read.
        answerable: Whether what is given answers.
    """

    id: str
    asked: Asked
    text: str
    heading: str = ""
    phrasings: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    group: str = ""
    # Not in the representation, of which hashes of data are made.
    given: tuple[Evidence, ...] = field(default=(), repr=False)
    answerable: bool = field(default=True, repr=False)

    def shown(self, style: Style) -> str:
        """Return the passage as the model reads it."""
        return f"{self.heading}\n{self.text}" if style is Style.HEADED else self.text


@dataclass(frozen=True, slots=True)
class Source:
    """Examples of one origin.

    Attributes:
        hashes: SHA-256 of each file read, by its name.
        heldout: How many examples were refused, by held-out topic.
        skipped: How many rows were left out, by reason.
    """

    name: str
    examples: tuple[Example, ...]
    licence: str
    attribution: str
    hashes: Mapping[str, str]
    heldout: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_source(
    name: str, data: Path | None, store: Path | None = None, *, named: Sequence[str] = ()
) -> Source:
    """Return the examples of `medquad`, of `starter`, of an added corpus, or of a JSONL file.

    An added corpus may be called like something else here: `corpus:medquad` is always the corpus,
    and so is `medquad` where the files of the data set are not.

    Args:
        data: The folder that holds MedQuAD, its split and the held-out topics.
        store: The file of the added corpora.
        named: More names that the caller knows, for who mistyped one.

    Raises:
        UsageError: There is no such source, or nothing in it can be trained on.
    """
    added = name.removeprefix(CORPUS)
    if name == MEDQUAD and not (_missing(data) and _is_added(added, store)):
        source = _medquad(_folder(data))
    elif name == STARTER:
        source = _starter(data)
    elif Path(name).is_file():
        source = _file(Path(name), data)
    elif store is not None and _is_added(added, store):
        source = _corpus(added, store, data)
    else:
        known = (*named, STARTER, MEDQUAD)
        near = get_close_matches(name, known, n=1)
        raise UsageError(
            "There is no such training data:",
            f"{name}. It is none of {', '.join(known)}, no added corpus and no file.",
            f"Did you mean {near[0]}?" if near else "medqa-tui corpus list",
        )
    if not source.examples:
        refused = sum(source.heldout.values())
        raise UsageError(
            "There is nothing to train on.",
            f"{name}: every example was left out ({refused} touch held-out topics, "
            f"{sum(source.skipped.values())} for other reasons).",
            "Give rows with a query and a positive passage.",
        )
    return source


def _missing(data: Path | None) -> list[str]:
    return [name for name in MEDQUAD_FILES if data is None or not (data / name).is_file()]


def _folder(data: Path | None) -> Path:
    missing = _missing(data)
    if data is None or missing:
        raise UsageError(
            "MedQuAD is not where it was looked for.",
            f"{data or DATA_VARIABLE + ' is not set'}: {', '.join(missing)} missing.",
            f"Name the folder with --data-folder or {DATA_VARIABLE}.",
        )
    return data


class Gate:
    """Counts and refuses what touches a held-out topic."""

    def __init__(self, data: Path | None) -> None:
        given = data / MEDQUAD_FILES[2] if data else None
        # The program's own list is the same; a folder of data may come with a later one.
        own = Path(__file__).with_name(MEDQUAD_FILES[2])
        file = given if given is not None and given.is_file() else own
        self._topics: dict[str, re.Pattern[str]] = read_heldout(file)
        self._any = re.compile("|".join(p.pattern for p in self._topics.values()), re.I)
        self.counts: dict[str, int] = {}

    def refuses(self, *texts: str) -> bool:
        text = " ".join(" ".join(part.split()[:READ_WORDS]) for part in texts)
        if not self._any.search(text):
            return False
        topic = next(name for name, pattern in self._topics.items() if pattern.search(text))
        self.counts[topic] = self.counts.get(topic, 0) + 1
        return True


def _medquad(data: Path) -> Source:
    gate = Gate(data)
    lines = (data / MEDQUAD_FILES[1]).read_text(encoding="utf-8").splitlines()[1:]
    split = dict(line.split("\t")[:2] for line in lines)
    examples, outside = [], 0
    with gzip.open(data / MEDQUAD_FILES[0], "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            if split.get(row["id"]) != "train":
                outside += 1
            elif not gate.refuses(row["question"], row["focus"], *row["synonyms"], row["answer"]):
                examples.append(_medquad_example(row))
    return Source(
        MEDQUAD,
        tuple(examples),
        licence="CC BY 4.0",
        attribution="MedQuAD (Ben Abacha and Demner-Fushman, 2019), CC BY 4.0, train split only",
        hashes={name: sha256_file(data / name) for name in MEDQUAD_FILES},
        heldout=gate.counts,
        skipped={"not in the train split": outside},
    )


def _medquad_example(row: dict[str, Any]) -> Example:
    asked = Asked(row["question"], row["focus"], row["qtype"], tuple(row["synonyms"]))
    return Example(
        id=row["id"],
        asked=asked,
        text=row["answer"],
        heading=row["question"],
        group=f"{folded(row['focus'])}|{row['qtype']}",
    )


def _starter(data: Path | None) -> Source:
    from medqa_tui.corpus.cards import LICENCE, Split, load_cards

    gate = Gate(data)
    cards = load_cards()
    examples = tuple(
        Example(
            id=card.id,
            asked=Asked(card.question),
            text=" ".join(card.answer.split()),
            heading=card.question,
            phrasings=card.phrasings,
            group=card.id,
        )
        for card in cards
        if card.split is Split.TRAIN
        and not gate.refuses(card.question, *card.phrasings, card.answer)
    )
    others = sum(card.split is not Split.TRAIN for card in cards)
    digest = hashlib.sha256(repr(examples).encode()).hexdigest()
    return Source(
        STARTER,
        examples,
        LICENCE,
        "medqa-tui's own starter cards, split train",
        {"starter cards": digest},
        gate.counts,
        {"cards of the held-out split": others},
    )


def _is_added(name: str, store: Path | None) -> bool:
    from medqa_tui.corpus.store import CorpusStore

    if store is None or not store.is_file():
        return False
    with CorpusStore(store, read_only=True) as opened:
        return any(info.name == name for info in opened.corpora())


def _corpus(name: str, store: Path, data: Path | None) -> Source:
    """Return the passages of a corpus that have a question; of a long answer, the beginning."""
    from medqa_tui.corpus.store import CorpusStore

    gate, examples, bare = Gate(data), [], 0
    with CorpusStore(store, read_only=True) as opened:
        info = opened.corpus(name)
        for record in opened.records((name,)):
            passage = record.passage
            if not passage.question:
                bare += 1
            elif passage.id.endswith("#0") and not gate.refuses(
                passage.title, passage.question, *record.phrasings, passage.text
            ):
                examples.append(
                    Example(
                        id=passage.id,
                        asked=Asked(passage.question),
                        text=passage.text,
                        heading=passage.question,
                        phrasings=record.phrasings,
                        group=folded(passage.question),
                    )
                )
    return Source(
        name,
        tuple(examples),
        licence=(info.licence if info else None) or "not stated",
        attribution=(info.attribution if info else None) or name,
        hashes={name: info.fingerprint if info else ""},
        heldout=gate.counts,
        skipped={"without a question": bare},
    )


def _file(path: Path, data: Path | None) -> Source:
    gate = Gate(data)
    examples, skipped = [], 0
    for number, row in json_rows(path, _SHAPE):
        query, positive = row.get("query"), row.get("positive")
        negatives = row.get("negatives", [])
        if not (isinstance(negatives, list) and all(isinstance(n, str) for n in negatives)):
            why = f'line {number}: "negatives" must be a list of texts'
            raise bad_row(path, why, _SHAPE)
        if not (isinstance(query, str) and isinstance(positive, str)):
            raise bad_row(path, f'line {number}: "query" and "positive" must be texts', _SHAPE)
        if not query.strip() or not positive.strip():
            skipped += 1
        elif not gate.refuses(query, positive):
            name = f"{path.name}:{number}"
            examples.append(
                Example(name, Asked(query), positive, negatives=tuple(negatives), group=name)
            )
    return of_file(path, examples, gate, {"an empty query or passage": skipped})


def of_file(
    path: Path, examples: Sequence[Example], gate: Gate, skipped: Mapping[str, int]
) -> Source:
    """Return what was read of a file of the user's; nobody says under which licence it is."""
    return Source(
        path.name,
        tuple(examples),
        licence="not stated",
        attribution=path.name,
        hashes={path.name: sha256_file(path)},
        heldout=gate.counts,
        skipped=skipped,
    )


def json_rows(path: Path, shape: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file with the numbers of their lines; empty lines are none.

    Only a newline ends a line: JSON may hold the other characters that Python takes for its end.

    Args:
        shape: What is expected, in words.

    Raises:
        UsageError: The file cannot be read, or a line is no object.
    """
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            at = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise bad_row(path, f"line {number}{at}: not valid JSON", shape) from error
        if not isinstance(row, dict):
            raise bad_row(path, f"line {number}: not an object", shape)
        yield number, row


def text_of(path: Path) -> str:
    """Return the text of a file.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "The training data cannot be read.", f"{path}: {error}.", "Give a UTF-8 file."
        ) from error


def bad_row(path: Path, why: str, shape: str) -> UsageError:
    """Return the error of a file that is not as expected, which `shape` says in words."""
    return UsageError("The training data is not as expected.", f"{path}, {why}.", shape)


def folded(text: str) -> str:
    """Return the words of `text` in small letters, for telling near-duplicates."""
    return " ".join(re.findall(r"\w+", text.lower()))
