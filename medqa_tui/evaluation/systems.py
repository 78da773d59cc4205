"""What is compared: the model with an adapter or without, quoting, and the lead of a passage."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from medqa_tui import __version__
from medqa_tui.backend import GenerateRequest
from medqa_tui.errors import MedQAError
from medqa_tui.events import GenerationDone
from medqa_tui.generation import prompt
from medqa_tui.grounding.citations import format_marks
from medqa_tui.grounding.sentences import split_sentences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medqa_tui.backend import DraftEvent
    from medqa_tui.evaluation.cases import Case
    from medqa_tui.generation.extractive import Embed
    from medqa_tui.generation.local import LocalGenerator

BASE, BASE_LONG, EXTRACTIVE, LEAD = "base", "base-long", "extractive", "lead"
BUILT_IN = (BASE, BASE_LONG, EXTRACTIVE, LEAD)
"""Names that stand for no adapter: the model without one, the same made to write as many words as
are compared, quoting, the lead of a passage."""

_TOKENS_A_WORD = 2.7
_FILLING_TOKENS_A_WORD = 1.4
"""So many tokens a word are more words than are compared: about 1.3 of them are one, with marks."""
_FEWEST_TOKENS = 16
_DECLINING_TOKENS = 2
"""The bound on declining reads the first two tokens of the declining sentence."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a system said to one case.

    Attributes:
        text: Its words, with citation marks, not cut yet.
        declined: It said that the evidence does not answer, or found nothing to quote.
        seconds: For the answer alone.
        reference_logprob: Natural log-probability of the reference as the answer; None where there
            is no model, or the evidence does not answer.
        reference_tokens: How many tokens the reference is.
        decline_logprob: Of the beginning of the declining sentence, as a bound on it reads it.
    """

    text: str
    declined: bool
    seconds: float
    reference_logprob: float | None = None
    reference_tokens: int = 0
    decline_logprob: float | None = None


class Stream(Protocol):
    """What writes a draft."""

    def stream(self, request: GenerateRequest, cancel: threading.Event) -> Iterator[DraftEvent]: ...


@dataclass(frozen=True, slots=True)
class System:
    """One side of a comparison.

    Attributes:
        key: Changes with anything that its answers depend on, beside the case.
        writer: What writes drafts for it; None for the lead.
        answer: Returns what it says to a case.
    """

    name: str
    key: str
    answer: Callable[[Case, threading.Event], Said]
    writer: Stream | None = None

    @property
    def is_model(self) -> bool:
        """Whether a language model writes, so that it can be asked for likelihoods."""
        return self.name not in (EXTRACTIVE, LEAD)


def max_tokens(words: int) -> int:
    """Return the tokens that an answer of `words` words surely fits into."""
    return max(_FEWEST_TOKENS, round(words * _TOKENS_A_WORD))


def lead(words: int) -> System:
    """Return the system that quotes the first passage from its beginning."""

    def answer(case: Case, cancel: threading.Event) -> Said:
        first = case.evidence[0]
        mark = format_marks((first.n,))
        text = " ".join(f"{each} {mark}" for each in split_sentences(first.passage.text))
        return Said(text, declined=False, seconds=0.0)

    return System(LEAD, _key(LEAD, words), answer)


def extractive(words: int, embed: Embed, embedder: str) -> System:
    """Return the system that quotes the best sentences of all passages.

    Args:
        embedder: What identifies the embedder behind `embed`.
    """
    from medqa_tui.generation.extractive import REVISION, ExtractiveGenerator

    writer = ExtractiveGenerator("", embed)

    def answer(case: Case, cancel: threading.Event) -> Said:
        return _written(writer, request_of(case, words), cancel)

    return System(EXTRACTIVE, _key(EXTRACTIVE, words, embedder, REVISION), answer, writer)


def model(
    name: str, words: int, generator: LocalGenerator, adapter: Path | None, identity: str
) -> System:
    """Return the model with the adapter in a folder, or without one.

    The models of one comparison share `generator`: one answers at a time.

    Args:
        identity: What identifies the base's weights and the adapter's.
    """
    writer = _Switched(generator, adapter)
    least = round(words * _FILLING_TOKENS_A_WORD) if name == BASE_LONG else 0

    def answer(case: Case, cancel: threading.Event) -> Said:
        request = replace(request_of(case, words), min_new_tokens=least)
        said = _written(writer, request, cancel)
        return said if cancel.is_set() else _with_likelihood(said, writer, request, case)

    device = f"{generator.info.device} {generator.info.quantization}"
    return System(name, _key("model", words, identity, device, least), answer, writer)


class _Switched:
    """The shared model, with this system's adapter on it whenever it writes."""

    def __init__(self, generator: LocalGenerator, adapter: Path | None) -> None:
        self._generator = generator
        self._adapter = adapter

    def stream(self, request: GenerateRequest, cancel: threading.Event) -> Iterator[DraftEvent]:
        self._switch()
        return self._generator.stream(request, cancel)

    def likelihood(self, request: GenerateRequest, answers: list[str]) -> list[tuple[float, ...]]:
        self._switch()
        return list(self._generator.likelihood(request, answers))

    def _switch(self) -> None:
        wanted = self._adapter.name if self._adapter else None
        if self._generator.info.adapter != wanted:
            self._generator.use_adapter(self._adapter)


def request_of(case: Case, words: int) -> GenerateRequest:
    """Return what a case asks of whatever writes drafts."""
    return GenerateRequest(
        case.id, case.question, case.evidence, generator="model", max_new_tokens=max_tokens(words)
    )


def _written(writer: Stream, request: GenerateRequest, cancel: threading.Event) -> Said:
    began = time.perf_counter()
    done = None
    for event in writer.stream(request, cancel):
        done = event
    if not isinstance(done, GenerationDone):
        raise MedQAError("A draft ended before it began.", request.question, "Type it again.")
    return Said(done.text, done.finish == "abstain", time.perf_counter() - began)


def _with_likelihood(said: Said, writer: _Switched, request: GenerateRequest, case: Case) -> Said:
    wanted = [prompt.ABSTAIN, *([case.reference] if case.answerable else [])]
    declining, *reference = writer.likelihood(request, wanted)
    return Said(
        said.text,
        said.declined,
        said.seconds,
        reference_logprob=sum(reference[0]) if reference else None,
        reference_tokens=len(reference[0]) if reference else 0,
        decline_logprob=sum(declining[:_DECLINING_TOKENS]),
    )


def _key(*parts: object) -> str:
    told = [__version__, prompt.template_hash(), *map(str, parts)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
