"""What a running answer emits, in order, and its NDJSON form both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from medqa_tui.domain import (
    Answer,
    Evidence,
    Failure,
    GeneratorKind,
    ModelInfo,
    Sentence,
    TokenCounts,
    Triage,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """What the program is doing now, in words; `fraction` in [0, 1] where it is known."""

    turn: str
    phase: str
    message: str
    fraction: float | None = None
    type: Literal["status"] = "status"


@dataclass(frozen=True, slots=True)
class TriageFound:
    """The red-flag rules fired: the advice is shown before anything else."""

    turn: str
    triage: Triage
    type: Literal["triage"] = "triage"


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """The evidence that will be used; `provisional` while only the lexical arm has answered.

    Attributes:
        query: The text that was searched for.
        relevant: False if nothing found is near enough to the question to answer from.
    """

    turn: str
    evidence: tuple[Evidence, ...]
    query: str
    relevant: bool = True
    provisional: bool = False
    type: Literal["evidence"] = "evidence"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the draft, as the generator writes it; not yet checked."""

    turn: str
    text: str
    type: Literal["token"] = "token"


@dataclass(frozen=True, slots=True)
class SentenceChecked:
    """A finished sentence that stands in its evidence and belongs to the answer."""

    turn: str
    sentence: Sentence
    type: Literal["sentence"] = "sentence"


@dataclass(frozen=True, slots=True)
class DraftDropped:
    """The draft, of which no sentence was shown as checked, is withdrawn; another one follows."""

    turn: str
    reason: str
    type: Literal["dropped"] = "dropped"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know, that is no error: a badge, a fall, a retry."""

    turn: str
    code: str
    message: str
    type: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class GenerationDone:
    """The generator stopped, and why. Sent by a backend, consumed by the assistant.

    Attributes:
        text: The whole draft, raw, with the citation marks the generator wrote.
        finish: `stop` (end of sequence, or of the last sentence that was wanted), `length` (of
            tokens), `loop`, `cancelled`, or `abstain` (the model itself said that the evidence
            does not answer, or no sentence of it is worth quoting).
        generate_ms: From the start of prefill to the last token, in milliseconds.
        first_token_ms: From the start of prefill to the first token, in milliseconds.
    """

    turn: str
    text: str
    generator: GeneratorKind
    model: ModelInfo
    tokens: TokenCounts
    finish: Literal["stop", "length", "loop", "cancelled", "abstain"]
    first_token_ms: float | None = None
    generate_ms: float | None = None
    type: Literal["generated"] = "generated"


@dataclass(frozen=True, slots=True)
class BackendFailed:
    """The backend could not go on; ends its stream."""

    turn: str
    failure: Failure
    type: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True)
class AnswerDone:
    """The last event of every answer, whatever became of it."""

    turn: str
    answer: Answer
    type: Literal["done"] = "done"


Event = (
    StatusChanged
    | TriageFound
    | EvidenceFound
    | Token
    | SentenceChecked
    | DraftDropped
    | Notice
    | GenerationDone
    | BackendFailed
    | AnswerDone
)


@cache
def _adapter() -> TypeAdapter[Any]:
    # pydantic costs 0.1 s to import, and only a front end that talks to the engine needs it.
    from typing import Annotated

    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_json(event: Event) -> str:
    """Return the event as one line of JSON, without the newline."""
    return str(_adapter().dump_json(event).decode())


def from_json(line: str | bytes) -> Event:
    """Return the event that `line` holds.

    Raises:
        ValueError: The line is not an event of this version.
    """
    event: Event = _adapter().validate_json(line)
    return event
