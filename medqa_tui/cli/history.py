"""`medqa-tui history`: look at earlier questions and answers, or delete them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.history.store import Entry, HistoryStore

app = options.new_app("Look at earlier answers, or delete them.")

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


@app.callback(no_args_is_help=True)
def history() -> None:
    """Look at earlier questions and answers, or delete them.

    They are kept on this machine only. To keep none: medqa-tui config set history.enabled false
    """


@app.command(name="list")
def list_(
    ctx: typer.Context,
    count: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many of the latest.")
    ] = 20,
) -> int:
    """List the latest questions, newest first."""
    store = _open()
    entries = store.list(count)
    if options.current(ctx).json:
        total = store.count()
        output.emit_json(_record({"total": total, "entries": [_row(entry) for entry in entries]}))
    elif entries:
        rows = [
            (str(entry.id), _local(entry.asked), _status(entry), entry.question)
            for entry in entries
        ]
        output.table(("id", "asked", "status", "question"), rows)
        more = store.count() - len(entries)
        if more:
            diagnostics.note(f"{more} more; -n {count + more} shows them all.")
    else:
        diagnostics.note("The history is empty.")
    _tell_of_damaged(store)
    return ExitCode.OK


@app.command()
def show(
    ctx: typer.Context,
    id: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="Its number; without it, the latest.")
    ] = None,
) -> int:
    """Show a question with its answer and sources."""
    store = _open()
    entry = _find(store, id)
    if options.current(ctx).json:
        output.emit_json(_record(_row(entry) | _whole(entry)))
    else:
        _print(entry)
    return ExitCode.OK


@app.command()
def delete(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Their numbers.")],
    *,
    yes: Yes = False,
) -> int:
    """Delete questions with their answers; they are overwritten on disk."""
    store = _open()
    for id in ids:
        _find(store, id)
    what = f"question {ids[0]}" if len(ids) == 1 else f"{len(ids)} questions"
    _confirm(ctx, f"Delete {what} for good?", yes=yes, again="medqa-tui history delete --yes")
    deleted = [id for id in dict.fromkeys(ids) if store.delete(id)]
    if options.current(ctx).json:
        output.emit_json(_record({"deleted": deleted}))
    else:
        diagnostics.note(f"Deleted: {', '.join(map(str, deleted))}.")
    return ExitCode.OK


@app.command()
def purge(ctx: typer.Context, *, yes: Yes = False) -> int:
    """Delete the whole history; it is overwritten on disk."""
    store = _open()
    total, damaged = store.count(), len(store.set_aside())
    if total or damaged:
        also = f" and {damaged} damaged files that were kept" if damaged else ""
        question = f"Delete all {total} questions and answers{also} for good?"
        _confirm(ctx, question, yes=yes, again="medqa-tui history purge --yes")
    deleted = store.purge() if store.database.path.exists() or damaged else 0
    if options.current(ctx).json:
        output.emit_json(_record({"deleted": deleted, "damaged_files": damaged}))
    elif total or damaged:
        diagnostics.note(f"Deleted {deleted} questions and answers.")
    else:
        diagnostics.note("The history is empty.")
    return ExitCode.OK


def _open() -> HistoryStore:
    from medqa_tui.history.store import HistoryStore
    from medqa_tui.paths import get_paths

    return HistoryStore(get_paths().history_db, diagnostics.warn)


def _find(store: HistoryStore, id: int | None) -> Entry:
    """Return the entry of that number, or the latest one.

    Raises:
        MedQAError: There is none.
    """
    if id is None:
        latest = store.list(1)
        if not latest:
            raise MedQAError("The history is empty.", "", 'medqa-tui ask "..."')
        id = latest[0].id
    entry = store.get(id)
    if entry is None:
        raise MedQAError(
            "There is no such question in the history:", f"{id}.", "medqa-tui history list"
        )
    return entry


def _confirm(ctx: typer.Context, question: str, *, yes: bool, again: str) -> None:
    """Return if the user agrees.

    Raises:
        UsageError: There is nobody to ask.
        typer.Abort: The user does not agree.
    """
    if yes:
        return
    if options.current(ctx).json or not terminal.is_terminal(sys.stdin):
        raise UsageError("This deletes for good and needs a yes.", "Nothing was deleted.", again)
    try:
        said = output.read_line(f"{question} [y/N] ")
    except EOFError:
        said = ""
    if said.strip().lower() not in ("y", "yes"):
        diagnostics.note("Nothing was deleted.")
        raise typer.Exit(ExitCode.FAILURE)


def _print(entry: Entry) -> None:
    from medqa_tui.cli import advice

    width = terminal.text_width(sys.stdout)
    output.write(advice.wrapped(entry.question, width), style="bold")
    output.write()
    if entry.advice:
        output.write(advice.wrapped(entry.advice, width))
        output.write()
    if entry.answer is not None:
        from medqa_tui.cli.render import AnswerPrinter

        with diagnostics.StatusLine() as line:
            AnswerPrinter(line).finish(entry.answer)
    elif entry.text:
        output.write(advice.wrapped(entry.text, width))
    diagnostics.note(f"Question {entry.id}, asked {_local(entry.asked)}: {_status(entry)}.")


def _status(entry: Entry) -> str:
    return entry.status.value.replace("_", " ")


def _local(asked: str) -> str:
    """Return an ISO time in the user's time zone, to the minute."""
    from datetime import datetime

    return datetime.fromisoformat(asked).astimezone().strftime("%Y-%m-%d %H:%M")


def _tell_of_damaged(store: HistoryStore) -> None:
    for path in store.set_aside():
        diagnostics.warn(
            f"An earlier history was damaged and is kept in {path}; "
            "medqa-tui history purge deletes it as well."
        )


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "session": entry.session,
        "asked": entry.asked,
        "finished": entry.finished,
        "status": entry.status.value,
        "triage": entry.triage.value,
        "question": entry.question,
    }


def _whole(entry: Entry) -> dict[str, Any]:
    from medqa_tui.contract import answer_record

    return {
        "advice": entry.advice,
        "text": entry.text,
        "answer": None if entry.answer is None else answer_record(entry.answer),
    }


def _record(values: dict[str, Any]) -> dict[str, Any]:
    from medqa_tui.contract import SCHEMA_VERSION

    return {"schema_version": SCHEMA_VERSION, **values}
