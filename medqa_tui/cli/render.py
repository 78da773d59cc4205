"""A running answer on the terminal: checked sentences and sources on stdout, the rest on stderr."""

from __future__ import annotations

import sys

from medqa_tui.cli import diagnostics, output, terminal
from medqa_tui.cli.passages import source_line
from medqa_tui.cli.words import wrapped
from medqa_tui.domain import Answer, AnswerStatus, GeneratorKind
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.events import (
    DraftDropped,
    Event,
    EvidenceFound,
    Notice,
    SentenceChecked,
    StatusChanged,
)
from medqa_tui.grounding.closed_book import SHORT
from medqa_tui.grounding.wording import cited

_GENERATORS = {
    GeneratorKind.MODEL: "a language model",
    GeneratorKind.EXTRACTIVE: "sentences quoted from the evidence",
}

_INDENT = "    "


class Prose:
    """A paragraph that grows by sentences; on a terminal its lines break between words."""

    def __init__(self) -> None:
        self._width = terminal.text_width(sys.stdout)
        self._wraps = terminal.is_terminal(sys.stdout)
        self._column = 0

    @property
    def is_open(self) -> bool:
        """Whether the last line has not ended yet."""
        return self._column > 0

    def add(self, sentence: str) -> None:
        """Write a sentence after the ones before it, at once."""
        pieces: list[str] = []
        for word in sentence.split():
            if self._column and self._wraps and self._column + 1 + len(word) > self._width:
                pieces.append("\n")
                self._column = 0
            elif self._column:
                pieces.append(" ")
                self._column += 1
            pieces.append(word)
            self._column += len(word)
        output.write("".join(pieces), end="", flush=True)

    def end(self) -> None:
        """End the paragraph, if it was begun."""
        if self.is_open:
            output.write(flush=True)
            self._column = 0


class AnswerPrinter:
    """Prints the events of one answer as they come.

    Args:
        line: The status line to speak on.
        data: Whether stdout gets the answer; `--json` writes it whole, at the end.
    """

    def __init__(self, line: diagnostics.StatusLine, *, data: bool = True) -> None:
        self._line = line
        self._data = data
        self._prose = Prose()
        self._written = False
        self._waiting: list[str] = []
        self._told: set[str] = set()

    def show(self, event: Event) -> None:
        """Print what there is to see of `event`."""
        match event:
            case StatusChanged(message=message, fraction=fraction):
                self._status(message, fraction)
            case EvidenceFound(provisional=False, evidence=found, relevant=True):
                self._status(f"Reading {len(found)} passages")
            case SentenceChecked(sentence=sentence):
                self._sentence(cited(sentence))
            case Notice(message=message):
                self._tell(message)
            case DraftDropped(reason=reason):
                self._tell(reason)
            case _:
                pass

    def finish(self, answer: Answer) -> None:
        """Print what comes after the last sentence: sources, and on stderr how sure it is."""
        self._line.pause()
        if self._data:
            if not self._written and answer.text:
                output.write(wrapped(answer.text, terminal.text_width(sys.stdout)))
            self._prose.end()
            if answer.closed_book and answer.sentences:
                output.write(f"\n{SHORT}", style="bold")
            self._sources(answer)
        for message in (*self._waiting, *answer.notices):
            if message not in self._told:
                self._told.add(message)
                diagnostics.note(f"Note: {message}")
        if answer.status is AnswerStatus.CANCELLED:
            diagnostics.note("Cancelled.")
        if answer.failure is not None:
            failure = answer.failure
            code = ExitCode(failure.exit_code)
            diagnostics.report(MedQAError(failure.title, failure.detail, failure.hint, code))
        if self._data:
            _footer(answer)

    def _status(self, message: str, fraction: float | None = None) -> None:
        # The status line and an unfinished paragraph cannot share a line of the terminal.
        if not (self._prose.is_open and terminal.same_place(sys.stdout, sys.stderr)):
            self._line.show(message, fraction)

    def _sentence(self, text: str) -> None:
        if not self._data:
            return
        self._written = True
        if terminal.is_terminal(sys.stdout):
            self._line.pause()
        self._prose.add(text)

    def _tell(self, message: str) -> None:
        if self._prose.is_open and terminal.same_place(sys.stdout, sys.stderr):
            self._waiting.append(message)
        elif message not in self._told:
            self._told.add(message)
            diagnostics.note(f"Note: {message}")

    def _sources(self, answer: Answer) -> None:
        cited_numbers = {n for sentence in answer.sentences for n in sentence.citations}
        shown = [item for item in answer.evidence if item.n in cited_numbers]
        heading = "Sources"
        # After an emergency's advice, what merely lies near would only lead away from it.
        if answer.text and not answer.sentences and not answer.triage.is_emergency:
            shown, heading = list(answer.evidence), "Nearest passages"
        if shown:
            if self._written or answer.text:
                output.write()
            output.write(heading, style="bold")
        width = terminal.width(sys.stdout)
        for item in shown:
            output.write(wrapped(source_line(item), width, _INDENT))
            if item.passage.url:
                output.write(f"{_INDENT}{item.passage.url}", style="dim")
            if item.passage.terms:
                terms = f"{_INDENT}{', '.join(item.passage.terms)}"
                output.write(wrapped(terms, width, _INDENT), style="dim")


def _footer(answer: Answer) -> None:
    """Say on stderr who spoke, how sure the program is, and what the answer is not.

    For the formats that do not carry it.
    """
    if terminal.same_place(sys.stdout, sys.stderr):
        diagnostics.note("")
    if answer.query:
        diagnostics.note(f"Searched for: {answer.query}")
    if answer.sentences:
        sure = answer.confidence
        kind = "" if sure.calibrated else ", not calibrated"
        diagnostics.note(f"Confidence: {sure.label.value} ({sure.score:.2f}{kind})")
        diagnostics.note(f"Answered by: {_speaker(answer)}")
    if answer.timings.total is not None:
        diagnostics.detail(f"Time: {answer.timings.total / 1000:.1f} s")
    if answer.disclaimer:
        diagnostics.always(answer.disclaimer)


def _speaker(answer: Answer) -> str:
    model = answer.model
    parts = [part for part in (model.base, model.adapter, model.quantization, model.device) if part]
    who = _GENERATORS.get(model.generator, "")
    if model.generator is GeneratorKind.MODEL and parts:
        return f"{', '.join(parts)} (profile {model.profile})"
    return f"{who} (profile {model.profile})"
