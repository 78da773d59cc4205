"""The starter cards: TOML files in the package, one topic a file, checked field by field.

topic = "Asthma"
category = "chronic disease"

[[card]]
id = "asthma-medicines"
question = "What medicines are used for asthma?"
phrasings = ["asthma inhaler types", "what is the blue puffer for"]
answer = \"\"\"...\"\"\"
source = "Title of the page the facts come from"
url = "https://..."
written = 2026-01-31
checked = true
core13 = false
split = "train"
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any, TypeVar

from medqa_tui.corpus.chunk import chunk_text
from medqa_tui.corpus.clean import clean_line
from medqa_tui.corpus.record import PassageRecord
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError

CORPUS = "starter"
LICENCE = "CC BY 4.0"

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_URL = re.compile(r"https?://[^\s/]+\.[^\s/]+\S*")
_FILE_FIELDS = frozenset({"topic", "category", "card"})
_CARD_FIELDS = frozenset(
    [
        "id",
        "question",
        "phrasings",
        "answer",
        "source",
        "url",
        "written",
        "checked",
        "core13",
        "split",
    ]
)

T = TypeVar("T")


class Split(StrEnum):
    """Whether a card may be trained on."""

    TRAIN = "train"
    HELDOUT = "heldout"


class CardError(MedQAError):
    """A card file breaks the schema; names file, card and field."""

    def __init__(self, file: str, card: str | None, field: str | None, what: str) -> None:
        where = ", ".join(
            [
                file,
                *([f"card {card}"] if card else []),
                *([f"field {field}"] if field else []),
            ]
        )
        super().__init__(
            "A starter card is not valid.",
            f"{where}: {what}",
            "Correct the file; if it came with the program, install medqa-tui again.",
        )


@dataclass(frozen=True, slots=True)
class Card:
    """One question and its answer, in our own words, with the page its facts come from.

    Attributes:
        phrasings: Other ways to ask; searched, never shown.
        written: ISO date.
        checked: Whether a second pass compared each claim with the source.
        core13: Whether it is one of the thirteen of the Flan-T5 project.
        file: Name of the file it was read from.
    """

    id: str
    topic: str
    category: str
    question: str
    phrasings: tuple[str, ...]
    answer: str
    source: str
    url: str
    written: str
    checked: bool
    core13: bool
    split: Split
    file: str

    def to_passages(self) -> tuple[PassageRecord, ...]:
        """Return the card as passages `starter:<card id>#<chunk>`, chunks counted from 0."""
        return tuple(
            PassageRecord(
                Passage(
                    id=f"{CORPUS}:{self.id}#{number}",
                    corpus=CORPUS,
                    document=self.id,
                    title=self.topic,
                    text=text,
                    question=self.question,
                    source=self.source,
                    url=self.url,
                    licence=LICENCE,
                    date=self.written,
                ),
                self.phrasings,
            )
            for number, text in enumerate(chunk_text(self.answer))
        )


def load_cards() -> list[Card]:
    """Return every starter card of the package, by file name and then in the file's order.

    Raises:
        CardError: A file breaks the schema, or two cards share an id.
    """
    folder = resources.files("medqa_tui.corpus").joinpath("starter")
    cards: list[Card] = []
    files: dict[str, str] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        for card in parse_cards(entry.read_text(encoding="utf-8"), entry.name):
            if card.id in files:
                raise CardError(entry.name, card.id, "id", f"already used in {files[card.id]}.")
            files[card.id] = entry.name
            cards.append(card)
    return cards


def parse_cards(text: str, file: str) -> list[Card]:
    """Return the cards of one file's text.

    Raises:
        CardError: The text is no TOML, or breaks the schema.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CardError(file, None, None, f"not readable as TOML: {error}.") from error
    top = _Fields(file, None, data)
    top.allow_only(_FILE_FIELDS)
    topic, category = top.line("topic"), top.line("category")
    entries = top.get("card", list)
    if not entries:
        raise CardError(file, None, "card", "there is no [[card]].")
    cards = [_card(file, number, entry, topic, category) for number, entry in enumerate(entries, 1)]
    ids = [card.id for card in cards]
    for card_id in ids:
        if ids.count(card_id) > 1:
            raise CardError(file, card_id, "id", "used twice in this file.")
    return cards


def _card(file: str, number: int, entry: object, topic: str, category: str) -> Card:
    if not isinstance(entry, dict):
        raise CardError(file, f"number {number}", None, "write it as [[card]].")
    name = entry.get("id")
    fields = _Fields(file, name if isinstance(name, str) and name else f"number {number}", entry)
    fields.allow_only(_CARD_FIELDS)
    card_id, url, split = fields.line("id"), fields.line("url"), fields.line("split")
    if not _ID.fullmatch(card_id):
        fields.fail("id", "use small letters, digits and single hyphens.")
    if not _URL.fullmatch(url):
        fields.fail("url", f"{url!r} is no http(s) address.")
    if split not in tuple(Split):
        fields.fail("split", f"{split!r} is neither {' nor '.join(Split)}.")
    return Card(
        id=card_id,
        topic=topic,
        category=category,
        question=fields.line("question"),
        phrasings=fields.lines("phrasings"),
        answer=fields.line("answer"),
        source=fields.line("source"),
        url=url,
        written=fields.date("written"),
        checked=fields.get("checked", bool),
        core13=fields.get("core13", bool),
        split=Split(split),
        file=file,
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """Reads typed fields of one table; every failure names file, card and field."""

    file: str
    card: str | None
    data: Mapping[str, Any]

    def fail(self, field: str, what: str) -> None:
        raise CardError(self.file, self.card, field, what)

    def allow_only(self, known: frozenset[str]) -> None:
        for key in self.data:
            if key not in known:
                self.fail(key, f"not a known field; known are {', '.join(sorted(known))}.")

    def get(self, field: str, kind: type[T]) -> T:
        value = self.data.get(field)
        if field not in self.data:
            self.fail(field, "missing.")
        if type(value) is not kind:
            self.fail(field, f"expected {kind.__name__}, found {type(value).__name__}.")
        return value  # type: ignore[return-value]

    def line(self, field: str) -> str:
        value = clean_line(self.get(field, str))
        if not value:
            self.fail(field, "empty.")
        return value

    def lines(self, field: str) -> tuple[str, ...]:
        values = self.get(field, list)
        for value in values:
            if not isinstance(value, str) or not clean_line(value):
                self.fail(field, "every entry must be text.")
        return tuple(clean_line(value) for value in values)

    def date(self, field: str) -> str:
        return self.get(field, datetime.date).isoformat()
