"""What the assistant asks of whoever holds the models: the engine, or this very process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from medqa_tui.domain import Evidence, GeneratorKind, Scope, Sentence, Turn
from medqa_tui.events import (
    BackendFailed,
    EvidenceFound,
    GenerationDone,
    Notice,
    StatusChanged,
    Token,
)

FELL_TO_EXTRACTIVE = "extractive"
"""Code of the notice that comes before an `auto` draft that the model could not write."""


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """A search: `k` passages for `query`, from `corpora` (all the active ones if empty).

    Attributes:
        mode: Which arms take part; `hybrid` is BM25 and dense, fused.
        rerank: Whether the cross-encoder, where one is installed, orders the result.
        sources: Texts of which one stands in the source or the address of a passage.
        since: ISO date, or the beginning of one, from which a passage's date is.
        until: The same, up to which it is.
    """

    turn: str
    query: str
    k: int = 5
    corpora: tuple[str, ...] = ()
    mode: Literal["hybrid", "bm25", "dense"] = "hybrid"
    rerank: bool = True
    sources: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    @property
    def scope(self) -> Scope:
        """What part of the index is searched."""
        return Scope(self.corpora, self.sources, self.since, self.until)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """An answer to write from `evidence`.

    Attributes:
        generator: `auto` has the model write and falls to the extractive one.
        max_new_tokens: Upper bound on the answer's length, in tokens.
        temperature: 0 is greedy; above it tokens are sampled, in every beam where there are more.
        prompt_lookup: Tokens proposed a step by prompt-lookup decoding; 0 turns it off.
        closed_book: Answer from memory: there is no evidence, and nothing can be quoted.
        num_beams: Drafts that are compared; more than one do not stream.
        no_repeat_ngram: No run of so many tokens is written twice; 0 allows it.
        min_new_tokens: The draft may not end before; above 0, sentences are not counted.
    """

    turn: str
    question: str
    evidence: tuple[Evidence, ...]
    context: tuple[Turn, ...] = ()
    generator: Literal["auto", "model", "extractive"] = "auto"
    max_new_tokens: int = 192
    temperature: float = 0.0
    seed: int = 0
    prompt_lookup: int = 10
    closed_book: bool = False
    num_beams: int = 1
    no_repeat_ngram: int = 0
    min_new_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GroundRequest:
    """Sentences of a draft (citation marks still in them) to check against `evidence`."""

    turn: str
    question: str
    sentences: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    generator: GeneratorKind = GeneratorKind.MODEL


@dataclass(frozen=True, slots=True)
class GroundResult:
    """The same sentences, cleaned of marks, with their citations and support."""

    turn: str
    sentences: tuple[Sentence, ...]


RetrieveEvent = StatusChanged | Notice | EvidenceFound | BackendFailed
DraftEvent = StatusChanged | Notice | Token | GenerationDone
GenerateEvent = DraftEvent | BackendFailed


class Backend(Protocol):
    """Retrieve, generate, ground; implemented by `engine.client` and by `engine.local`.

    A stream that cannot go on ends with `BackendFailed`; it raises `MedQAError` only when it
    could not start. Setting `cancel` ends a stream within one generation step.
    """

    @property
    def quotes(self) -> bool:
        """Whether answers from evidence are quoted from it, so that no model has to write.

        Raises:
            NotSetUpError: Nothing is installed.
        """
        ...

    def prepare(self, turn: str) -> AsyncIterator[StatusChanged | Notice]:
        """Make the backend ready to retrieve (start or find the engine), saying what it does.

        Raises:
            NotSetUpError: Nothing is installed.
            EngineError: The engine cannot be started.
        """
        ...

    def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncIterator[RetrieveEvent]:
        """Yield the evidence: perhaps provisional first, then final."""
        ...

    def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncIterator[GenerateEvent]:
        """Yield the tokens of a draft, then `GenerationDone`."""
        ...

    async def ground(self, request: GroundRequest) -> GroundResult:
        """Check sentences against the evidence."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; a shared engine goes on."""
        ...
