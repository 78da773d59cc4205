"""The values that the whole program speaks in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from medqa_tui.errors import ExitCode


class AnswerStatus(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    ABSTAINED = "abstained"
    OUT_OF_SCOPE = "out_of_scope"
    EMERGENCY = "emergency"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Support(StrEnum):
    """Whether a sentence stands in the evidence it cites."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    UNSUPPORTED = "unsupported"
    NOT_CHECKED = "not_checked"


class TriageLevel(StrEnum):
    """How urgent the words of a question sound, by rules."""

    NONE = "none"
    URGENT = "urgent"
    EMERGENCY = "emergency"
    CRISIS = "crisis"


class ConfidenceLabel(StrEnum):
    """A confidence score in one word."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class GeneratorKind(StrEnum):
    """Who wrote the answer."""

    MODEL = "model"
    EXTRACTIVE = "extractive"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus that can be retrieved and cited.

    Attributes:
        id: `<corpus>:<document>#<chunk>`.
        document: The source's own id of the document (for Q/A sets, of the row).
        source: Title of the page or data set that the facts come from.
        date: ISO date on which the text was written or fetched.
        revision: Version of the corpus as it was read: a commit, or a hash of its files.
    """

    id: str
    corpus: str
    document: str
    title: str
    text: str
    question: str | None = None
    source: str | None = None
    url: str | None = None
    licence: str | None = None
    date: str | None = None
    revision: str | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """What is said wherever the passage is shown, in short: licence, date, revision."""
        hashed = self.revision and self.revision.startswith("sha256:")
        revision = self.revision if hashed or not self.revision else self.revision[:12]
        told = (self.licence, self.date, revision and f"revision {revision}")
        return tuple(part for part in told if part)


@dataclass(frozen=True, slots=True)
class Scope:
    """What part of the index a search looks at; everything where nothing is said.

    Attributes:
        corpora: Names of corpora.
        sources: Texts of which one stands in the passage's source or address, in any case.
        since: ISO date, or the beginning of one, from which a passage's date is.
        until: The same, up to which it is, inclusive. A passage without a date is left out where
            dates are asked for.
    """

    corpora: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    @property
    def by_row(self) -> bool:
        """Whether each passage must be looked at."""
        return bool(self.sources or self.since or self.until)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one passage: cosine, BM25, both fused, cross-encoder; and arm ranks.

    Attributes:
        rrf: Reciprocal rank fusion of the arms.
        fused: The weighted score that orders a hybrid search.
    """

    dense: float | None = None
    bm25: float | None = None
    rrf: float | None = None
    rerank: float | None = None
    dense_rank: int | None = None
    bm25_rank: int | None = None
    fused: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A retrieved passage, numbered from 1 as the answer cites it."""

    n: int
    passage: Passage
    scores: Scores = Scores()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer, without its citation marks, and how far its evidence carries it.

    Attributes:
        citations: Evidence numbers, in the order they are shown.
        score: Support score in [0, 1], or None if it was not checked.
    """

    text: str
    citations: tuple[int, ...] = ()
    support: Support = Support.NOT_CHECKED
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Triage:
    """What the red-flag rules found: a level, the ids of the rules that fired, the advice.

    Attributes:
        educate: Whether the educational question may still be answered after the advice.
    """

    level: TriageLevel = TriageLevel.NONE
    rules: tuple[str, ...] = ()
    advice: str = ""
    educate: bool = True

    @property
    def is_emergency(self) -> bool:
        return self.level in (TriageLevel.EMERGENCY, TriageLevel.CRISIS)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the program is, in [0, 1]; `calibrated` says whether data fitted the number."""

    score: float
    label: ConfidenceLabel
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which generator spoke, from which files, on which device."""

    profile: str
    base: str | None = None
    adapter: str | None = None
    quantization: str | None = None
    device: str | None = None
    generator: GeneratorKind = GeneratorKind.NONE


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds; None where the step did not happen. `first_token` counts from the question."""

    engine_start: float | None = None
    retrieve: float | None = None
    first_token: float | None = None
    generate: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens read and written by the generator."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier exchange of a conversation."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """What the user asked, with the conversation before it (oldest first)."""

    text: str
    turn: str
    context: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as data, so that it can cross a process boundary."""

    title: str
    detail: str = ""
    hint: str = ""
    exit_code: int = ExitCode.FAILURE


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything known about one answered (or refused) question.

    Attributes:
        text: The answer as shown, with `[n]` citation marks.
        query: The retrieval query, when it differs from the question.
        closed_book: It was written from the model's memory: no evidence supports it.
        notices: What the user should know: a fall to another generator, a sentence left out.
    """

    question: str
    status: AnswerStatus
    text: str = ""
    sentences: tuple[Sentence, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    confidence: Confidence = Confidence(0.0, ConfidenceLabel.LOW)
    triage: Triage = Triage()
    model: ModelInfo = field(default_factory=lambda: ModelInfo(profile=""))
    timings: Timings = Timings()
    tokens: TokenCounts = TokenCounts()
    disclaimer: str = ""
    notices: tuple[str, ...] = ()
    query: str | None = None
    failure: Failure | None = None
    closed_book: bool = False

    @property
    def is_context(self) -> bool:
        """Whether a later question may lean on it: it says something about what was asked."""
        told = (AnswerStatus.ANSWERED, AnswerStatus.EMERGENCY, AnswerStatus.CANCELLED)
        return self.status in told and bool(self.sentences)

    @property
    def exit_code(self) -> int:
        """The exit code that `ask` ends with for this answer."""
        if self.triage.is_emergency:
            return ExitCode.EMERGENCY
        match self.status:
            case AnswerStatus.ANSWERED:
                return ExitCode.OK
            case AnswerStatus.ABSTAINED | AnswerStatus.OUT_OF_SCOPE:
                return ExitCode.ABSTAINED
            case AnswerStatus.EMERGENCY:
                return ExitCode.EMERGENCY
            case AnswerStatus.CANCELLED:
                return ExitCode.INTERRUPTED
            case AnswerStatus.FAILED:
                return self.failure.exit_code if self.failure else ExitCode.FAILURE
