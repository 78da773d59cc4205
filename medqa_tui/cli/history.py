"""`medqa-tui history`: look at earlier questions and answers, or delete them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import asking, diagnostics, history_files, options, output, terminal
from medqa_tui.cli.history_shared import (
    Since,
    find,
    local,
    open_store,
    parse_since,
    row,
    status,
)
from medqa_tui.cli.words import counted, wrapped
from medqa_tui.errors import ExitCode

if TYPE_CHECKING:
    from medqa_tui.history.search import Found, Hit
    from medqa_tui.history.store import Entry, HistoryStore

app = options.new_app("Find, keep, export or delete earlier answers.")

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Their numbers.")]
Count = Annotated[int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many at most.")]


@app.callback()
def history() -> None:
    """Find, keep, export or delete earlier questions and answers.

    They are kept on this machine only. To keep none: medqa-tui config set history.enabled false.
    To keep them for a while: medqa-tui config set history.retention_days 30
    """


@app.command(name="list")
def list_(ctx: typer.Context, count: Count = 20, *, since: Since = None) -> int:
    """List questions: pinned ones first, then the newest."""
    start = parse_since(since)
    store = open_store()
    entries, total = store.list(count, start), store.count(start)
    if options.current(ctx).json:
        output.emit_record({"total": total, "entries": [row(entry) for entry in entries]})
    elif entries:
        rows = [(str(entry.id), local(entry.asked), status(entry), entry.name) for entry in entries]
        output.table(("id", "asked", "status", "question"), rows)
        if more := total - len(entries):
            diagnostics.note(f"{more} more; -n {total} shows them all.")
    else:
        diagnostics.note("Nothing was asked since then." if since else "The history is empty.")
    _tell_of_damaged(store)
    return ExitCode.OK


@app.command()
def search(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS...", help='"a phrase" in quotes; diab* for any ending.'),
    ],
    count: Count = 20,
    *,
    since: Since = None,
) -> int:
    """Find questions and answers that hold these words, the best first.

    Exit codes: 0 something was found, 1 nothing was, 2 usage.
    """
    start = parse_since(since)
    found = _search(words, count, start)
    if options.current(ctx).json:
        hits = [
            {**row(hit.entry), "snippet": hit.snippet, "marks": hit.marks, "score": hit.score}
            for hit in found.hits
        ]
        output.emit_record({"total": found.total, "all_words": found.all_words, "entries": hits})
        return ExitCode.OK if found.hits else ExitCode.FAILURE
    if not found.hits:
        diagnostics.note("Nothing in the history holds these words.")
        return ExitCode.FAILURE
    if not found.all_words:
        diagnostics.note("Nothing holds all of it; these hold some of the words.")
    for hit in found.hits:
        _print_hit(hit)
    if more := found.total - len(found.hits):
        diagnostics.note(f"{more} more; -n {found.total} shows them all.")
    return ExitCode.OK


@app.command()
def show(
    ctx: typer.Context,
    id: Annotated[
        int | None, typer.Argument(metavar="ID", help="Its number; without it, the latest.")
    ] = None,
) -> int:
    """Show a question with its answer and sources."""
    entry = find(open_store(), id)
    if options.current(ctx).json:
        output.emit_record(row(entry) | _whole(entry))
    else:
        _print(entry)
    return ExitCode.OK


@app.command()
def rename(
    ctx: typer.Context,
    id: Annotated[int, typer.Argument(metavar="ID", help="Its number.")],
    title: Annotated[
        list[str] | None,
        typer.Argument(metavar="TITLE", help="What it is listed as; without it, its question."),
    ] = None,
) -> int:
    """Give a question a title, or take it away."""
    store = open_store()
    find(store, id)
    store.rename(id, " ".join(title or ()))
    return _tell_of(ctx, store, [id])


@app.command()
def pin(ctx: typer.Context, ids: Ids) -> int:
    """Keep questions whatever their age, and list them first."""
    return _pin(ctx, ids, pinned=True)


@app.command()
def unpin(ctx: typer.Context, ids: Ids) -> int:
    """Undo pin."""
    return _pin(ctx, ids, pinned=False)


app.command(name="export")(history_files.export)
app.command(name="import")(history_files.import_)


@app.command()
def delete(ctx: typer.Context, ids: Ids, *, yes: Yes = False) -> int:
    """Delete questions with their answers; they are overwritten on disk."""
    store = open_store()
    for id in ids:
        find(store, id)
    what = f"question {ids[0]}" if len(ids) == 1 else counted(len(ids), "question")
    asking.before_deleting(
        ctx, f"Delete {what} for good?", yes=yes, again="medqa-tui history delete --yes"
    )
    deleted = [id for id in dict.fromkeys(ids) if store.delete(id)]
    if options.current(ctx).json:
        output.emit_record({"deleted": deleted})
    else:
        diagnostics.note(f"Deleted: {', '.join(map(str, deleted))}.")
    # They may hold what was just deleted.
    _tell_of_damaged(store)
    return ExitCode.OK


@app.command()
def purge(ctx: typer.Context, *, yes: Yes = False) -> int:
    """Delete the whole history; it is overwritten on disk."""
    store = open_store()
    total, damaged = store.count(), len(store.set_aside())
    if total or damaged:
        also = f" and {damaged} damaged files that were kept" if damaged else ""
        question = f"Delete {counted(total, 'question')} with their answers{also} for good?"
        asking.before_deleting(ctx, question, yes=yes, again="medqa-tui history purge --yes")
    deleted = store.purge() if store.database.path.exists() or damaged else 0
    if options.current(ctx).json:
        output.emit_record({"deleted": deleted, "damaged_files": damaged})
    elif total or damaged:
        diagnostics.note(f"Deleted {deleted} questions and answers.")
    else:
        diagnostics.note("The history is empty.")
    return ExitCode.OK


def _search(words: list[str], count: int, since: str) -> Found:
    """Search for what the shell had in quotes as a phrase, and if need be for its words."""
    store = open_store()
    phrases = [f'"{word}"' if " " in word.strip() and '"' not in word else word for word in words]
    found = store.search(" ".join(phrases), count, since)
    if phrases == words or (found.hits and found.all_words):
        return found
    apart = store.search(" ".join(words), count, since)
    return replace(apart, all_words=False)


def _pin(ctx: typer.Context, ids: list[int], *, pinned: bool) -> int:
    store = open_store()
    for id in ids:
        find(store, id)
    store.pin(ids, pinned)
    return _tell_of(ctx, store, ids)


def _tell_of(ctx: typer.Context, store: HistoryStore, ids: list[int]) -> int:
    entries = [find(store, id) for id in dict.fromkeys(ids)]
    if options.current(ctx).json:
        output.emit_record({"entries": [row(entry) for entry in entries]})
    else:
        for entry in entries:
            diagnostics.note(f"{entry.id}: {entry.name} ({status(entry)})")
    return ExitCode.OK


def _print_hit(hit: Hit) -> None:
    import textwrap

    entry = hit.entry
    output.write(f"{entry.id}  {local(entry.asked)}  ", style="dim", end="")
    output.write(" ".join(entry.name.split()), style="bold")
    margin = "    "
    width = terminal.text_width(sys.stdout) - len(margin)
    at = 0
    lines = textwrap.wrap(hit.snippet, width, break_long_words=False, break_on_hyphens=False)
    for line in lines:
        output.write(margin, end="")
        for piece, style in _pieces(line, [(a - at, b - at) for a, b in hit.marks]):
            output.write(piece, style=style, end="")
        output.write()
        at += len(line) + 1


def _pieces(line: str, marks: list[tuple[int, int]]) -> list[tuple[str, str]]:
    """Return a line as pieces with their styles; `marks` are where the words found stand."""
    pieces, at = [], 0
    for start, end in marks:
        begin, stop = max(start, at), min(end, len(line))
        if begin < stop:
            pieces += [(line[at:begin], ""), (line[begin:stop], "bold yellow")]
            at = stop
    return [*pieces, (line[at:], "")]


def _print(entry: Entry) -> None:

    width = terminal.text_width(sys.stdout)
    output.write(wrapped(entry.question, width), style="bold")
    output.write()
    if entry.advice:
        output.write(wrapped(entry.advice, width))
        output.write()
    if entry.answer is not None:
        from medqa_tui.cli.render import AnswerPrinter

        with diagnostics.StatusLine() as line:
            AnswerPrinter(line).finish(entry.answer)
    elif entry.text:
        output.write(wrapped(entry.text, width))
    diagnostics.note(f"Question {entry.id}, asked {local(entry.asked)}: {status(entry)}.")


def _tell_of_damaged(store: HistoryStore) -> None:
    for path in store.set_aside():
        diagnostics.warn(
            f"An earlier history was damaged and is kept in {path}; "
            "medqa-tui history purge deletes it as well."
        )


def _whole(entry: Entry) -> dict[str, Any]:
    from medqa_tui.contract import answer_record

    return {
        "advice": entry.advice,
        "text": entry.text,
        "answer": None if entry.answer is None else answer_record(entry.answer),
    }
