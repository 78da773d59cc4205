"""A small set of our own on which a wrong answer may hurt, each with a rule that can fail."""

from __future__ import annotations

import asyncio
import re
import threading
import tomllib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from medqa_tui.backend import GenerateRequest, GroundRequest, GroundResult, RetrieveRequest
from medqa_tui.cancelling import closing
from medqa_tui.domain import AnswerStatus, Evidence, Passage, Question
from medqa_tui.evaluation.cases import content_key
from medqa_tui.evaluation.near import scored
from medqa_tui.events import AnswerDone, EvidenceFound, GenerationDone, StatusChanged
from medqa_tui.grounding.draft import Draft
from medqa_tui.grounding.sentences import split_sentences

if TYPE_CHECKING:
    from medqa_tui.backend import DraftEvent, RetrieveEvent
    from medqa_tui.config import Settings
    from medqa_tui.evaluation.systems import Stream
    from medqa_tui.grounding.support import SupportChecker
    from medqa_tui.retrieval.embedder import TextEmbedder

_FILE = "safety_cases.toml"
_DRAFT, _ASSISTANT = "draft", "assistant"


@dataclass(frozen=True, slots=True)
class SafetyCase:
    """A question, the passages that are found for it, and what an answer may and must say.

    Attributes:
        way: "assistant" for the whole program, "draft" for the model and the check alone.
        says: Patterns of which one must be found; none asks for nothing.
        never: Patterns of which none may be found.
        declining: Whether saying nothing passes.
        status: What the whole program must end with; empty asks for nothing.
    """

    id: str
    way: str
    question: str
    evidence: tuple[Evidence, ...]
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    declining: bool = False
    status: str = ""

    @property
    def key(self) -> str:
        """SHA-256 (hex) of what an answer to it depends on."""
        return content_key(self.evidence, "safety", self.way, self.question)


@dataclass(frozen=True, slots=True)
class Told:
    """What a user would have read, without citation marks, and what the program ended with."""

    text: str
    status: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was said to a safety case, and why that is wrong; nothing if it is not.

    Attributes:
        text: What a user would have read, without citation marks.
    """

    id: str
    text: str
    failed: str = ""

    @property
    def passed(self) -> bool:
        """Whether the rule held."""
        return not self.failed


def safety_cases() -> tuple[SafetyCase, ...]:
    """Return the cases of the package."""
    text = files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(_case(row) for row in tomllib.loads(text)["case"])


def judge(case: SafetyCase, told: Told) -> Outcome:
    """Return whether an answer keeps to the case's rule, and if not, which part it breaks."""
    text = told.text
    if case.status and told.status != case.status:
        why = f"it ended as {told.status or 'nothing'}, not as {case.status}"
        return Outcome(case.id, text, why)
    if not text.strip():
        return Outcome(case.id, "", "" if case.declining else "it said nothing")
    for pattern in case.never:
        if found := re.search(pattern, text, re.IGNORECASE):
            return Outcome(case.id, text, f'it said "{found.group(0).strip()}"')
    if case.says and not any(re.search(each, text, re.IGNORECASE) for each in case.says):
        return Outcome(case.id, text, "it left out what matters")
    return Outcome(case.id, text)


def ask(
    case: SafetyCase,
    writer: Stream,
    checker: SupportChecker,
    embedder: TextEmbedder,
    *,
    settings: Settings,
    max_new_tokens: int,
    cancel: threading.Event,
) -> Told:
    """Put a case to whatever writes drafts, and return what a user would have read.

    Raises:
        MedQAError: It cannot write.
    """
    evidence = scored(case.question, case.evidence, embedder)
    if case.way == _DRAFT:
        request = GenerateRequest(case.id, case.question, evidence, max_new_tokens=max_new_tokens)
        return Told(_draft(request, writer, checker, cancel))
    backend = _OneCase(evidence, writer, checker, cancel)
    return asyncio.run(_answer(case, backend, settings))


def _draft(
    request: GenerateRequest, writer: Stream, checker: SupportChecker, cancel: threading.Event
) -> str:
    """Return the sentences of the model's own draft that the program would show."""
    done = None
    for event in writer.stream(request, cancel):
        done = event
    if not isinstance(done, GenerationDone) or done.finish == "abstain":
        return ""
    draft = Draft(request.evidence)
    for sentence in split_sentences(done.text):
        asked = GroundRequest(
            request.turn, request.question, (sentence,), request.evidence, done.generator
        )
        for checked in checker.check(asked).sentences:
            draft.take(checked, done.generator)
    return " ".join(sentence.text for sentence in draft.kept)


async def _answer(case: SafetyCase, backend: _OneCase, settings: Settings) -> Told:
    from medqa_tui import assistant

    question = Question(case.question, case.id)
    text, status = "", AnswerStatus.FAILED
    async with closing(assistant.answer(question, backend, settings=settings)) as events:
        async for event in events:
            if isinstance(event, AnswerDone):
                answer = event.answer
                text = " ".join(sentence.text for sentence in answer.sentences)
                status = answer.status
    return Told(text, status.value)


class _OneCase:
    """A backend that finds one case's passages, whatever is asked, and holds them relevant."""

    def __init__(
        self,
        evidence: tuple[Evidence, ...],
        writer: Stream,
        checker: SupportChecker,
        cancel: threading.Event,
    ) -> None:
        self._evidence = evidence
        self._writer = writer
        self._checker = checker
        self._cancel = cancel

    @property
    def quotes(self) -> bool:
        return False

    async def prepare(self, turn: str) -> AsyncGenerator[StatusChanged, None]:
        yield StatusChanged(turn, "load", "Ready.")

    async def retrieve(
        self, request: RetrieveRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[RetrieveEvent, None]:
        yield EvidenceFound(request.turn, self._evidence, request.query)

    async def generate(
        self, request: GenerateRequest, cancel: asyncio.Event
    ) -> AsyncGenerator[DraftEvent, None]:
        for event in self._stream(request):
            yield event

    def _stream(self, request: GenerateRequest) -> list[DraftEvent]:
        from medqa_tui.generation.extractive import ExtractiveGenerator

        if request.generator == "extractive":
            quoting = ExtractiveGenerator("")
            return list(quoting.stream(request, self._cancel))
        return list(self._writer.stream(request, self._cancel))

    async def ground(self, request: GroundRequest) -> GroundResult:
        result: GroundResult = self._checker.check(request)
        return result

    async def aclose(self) -> None:
        return None


def _case(row: dict[str, Any]) -> SafetyCase:
    evidence = tuple(
        Evidence(n, Passage(f"safety:{row['id']}#{n}", "safety", row["id"], title, text))
        for n, (title, text) in enumerate(row["evidence"], 1)
    )
    return SafetyCase(
        row["id"],
        row["way"],
        row["question"],
        evidence,
        tuple(row.get("says", ())),
        tuple(row.get("never", ())),
        bool(row.get("declining", False)),
        row.get("status", ""),
    )
