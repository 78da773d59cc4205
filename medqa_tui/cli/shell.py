"""The line-based shell: questions on a terminal, one after another, in one conversation."""

from __future__ import annotations

from medqa_tui.cli import advice, diagnostics, output
from medqa_tui.cli.ask import checked
from medqa_tui.cli.conversation import Conversation
from medqa_tui.cli.options import Options, Wishes
from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.safety.disclaimer import DISCLAIMER_SHORT

PROMPT = "Medical question: "
_ENDS = frozenset({"exit", "quit"})


def run(options: Options, wishes: Wishes) -> int:
    """Ask and answer until `exit`, `quit` or Ctrl-D; return the exit code."""
    diagnostics.always(DISCLAIMER_SHORT)
    diagnostics.note("Type a question; new starts over, exit ends.")
    with Conversation(options, wishes) as conversation:
        while True:
            try:
                line = output.read_line(PROMPT).strip()
            except EOFError:
                output.write()
                return ExitCode.OK
            except KeyboardInterrupt:
                output.write()
                continue
            if line.casefold() in _ENDS:
                return ExitCode.OK
            if line.casefold() == "new":
                conversation.renew()
                diagnostics.note("A new conversation.")
            elif line:
                _answer(conversation, line)


def _answer(conversation: Conversation, line: str) -> None:
    try:
        text = checked(line)
        conversation.ask(text, advice.give(text))
    except MedQAError as error:
        diagnostics.report(error)
    except KeyboardInterrupt:
        diagnostics.note("Cancelled.")
    output.write()
