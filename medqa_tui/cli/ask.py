"""`medqa-tui ask`: a question from the arguments, a pipe or the prompt; an answer on stdout."""

from __future__ import annotations

import codecs
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import advice, diagnostics, options, output, terminal
from medqa_tui.cli.options import Options, Wishes
from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.safety.sanitize import clean

if TYPE_CHECKING:
    from medqa_tui.domain import Answer, Triage

LONGEST_QUESTION = 8000
_HINT = 'medqa-tui ask "What are the symptoms of type 2 diabetes?"'


def command(
    ctx: typer.Context,
    *,
    question: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="The question, or - for stdin."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", metavar="N", min=1, max=50, help="How many passages to use."),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus", metavar="NAME", help="Answer only from this corpus; may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("-c", "--continue", help="Go on from the latest conversation.")
    ] = False,
    no_evidence: Annotated[
        bool,
        typer.Option(
            "--no-evidence", help="Ask the model's memory: closed-book, without any evidence."
        ),
    ] = False,
    no_save: Annotated[
        bool, typer.Option("--no-save", help="Keep nothing of it in the history.")
    ] = False,
    no_setup: Annotated[
        bool, typer.Option("--no-setup", help="Never install anything; exit 3 instead.")
    ] = False,
) -> int:
    """Answer a medical question from cited evidence.

    Without a question on a terminal it asks for one, again and again, until `exit`.

    Exit codes: 0 answered, 1 failure, 2 usage, 3 not set up, 4 download failed, 5 no answer in the
    evidence, 10 emergency, 130 interrupted.
    """
    chosen = options.current(ctx)
    wishes = Wishes(
        k,
        save=not no_save,
        setup=not no_setup,
        resume=resume,
        evidence=not no_evidence,
        corpora=tuple(corpus or ()),
    )
    text = read_question(question or [], chosen)
    if text is None:
        from medqa_tui.cli import shell

        return shell.run(chosen, wishes)
    found = advice.give(text, silent=chosen.json)
    try:
        answer = _answer(text, found, chosen, wishes)
    except Exception as error:
        if not found.is_emergency:
            raise
        # The advice stands, whatever else is broken.
        answer = _bare(text, found, error, chosen)
    if chosen.json:
        from medqa_tui.contract import answer_record

        output.emit_json(answer_record(answer))
    return answer.exit_code


def read_question(words: list[str], chosen: Options, hint: str = _HINT) -> str | None:
    """Return the question, or None if it has to be asked for on the terminal.

    Raises:
        UsageError: There is none, or it is too long.
    """
    piped = not terminal.is_terminal(sys.stdin)
    if words == ["-"] or (not words and piped):
        text = _decode(sys.stdin.buffer.read(4 * LONGEST_QUESTION + 4))
    elif words:
        # A shell may pass bytes that are no text; Python carries them as lone surrogates.
        text = " ".join(words).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    elif chosen.json or not terminal.is_terminal(sys.stdout):
        raise UsageError("There is no question.", "", hint)
    else:
        return None
    return checked(text, hint)


def checked(text: str, hint: str = _HINT) -> str:
    """Return the question as it may be processed and shown.

    Raises:
        UsageError: It is empty or too long.
    """
    text = clean(text).strip()
    if not text:
        raise UsageError("The question is empty.", "", hint)
    if len(text) > LONGEST_QUESTION:
        raise UsageError(
            "The question is too long.",
            f"It may have {LONGEST_QUESTION:,} characters.",
            "a shorter question",
        )
    return text


def _decode(data: bytes) -> str:
    """Return the text of `data`: UTF-8, or UTF-16 where it says so, as PowerShell's pipes do."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        diagnostics.warn("The question is not valid UTF-8; what could not be read was replaced.")
        return data.decode("utf-8-sig", "replace")


def _answer(text: str, found: Triage, chosen: Options, wishes: Wishes) -> Answer:
    # Deferred: it imports asyncio, pydantic and more, and the advice does not wait for them.
    from medqa_tui.cli.conversation import Conversation

    with Conversation(chosen, wishes) as conversation:
        return conversation.ask(text, found)


def _bare(text: str, found: Triage, error: Exception, chosen: Options) -> Answer:
    """Return an emergency's answer when nothing but the advice could be given."""
    from medqa_tui.cli.crash import describe
    from medqa_tui.domain import Answer, AnswerStatus, Failure
    from medqa_tui.safety.disclaimer import DISCLAIMER

    said = error if isinstance(error, MedQAError) else describe(error)
    diagnostics.report(said)
    if not chosen.json:
        diagnostics.always(DISCLAIMER)
    return Answer(
        question=text,
        status=AnswerStatus.EMERGENCY,
        triage=found,
        disclaimer=DISCLAIMER,
        failure=Failure(said.title, said.detail, said.hint, said.exit_code),
    )
