"""`medqa-tui corpus`: what the answers can come from, and bringing more of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import (
    asking,
    corpus_show,
    corpus_switch,
    corpus_work,
    diagnostics,
    options,
    output,
)
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.corpus.indexing import Indexed
    from medqa_tui.corpus.library import Outcome, Preview

app = options.new_app("Add, look at, update and remove what the answers can come from.")

_NoIndex = Annotated[
    bool, typer.Option("--no-index", help="Leave the search index for later: index build.")
]


def _column(name: str, what: str) -> Any:
    return typer.Option(name, metavar="COLUMN", help=f"The column with {what}.")


@app.callback()
def corpus() -> None:
    """Add, look at, update and remove what the answers can come from.

    By name: medquad, flashcards, pubmedqa. Or your own: JSONL, JSON, CSV, TSV, Parquet, Markdown,
    text, PDF and Anki files, alone, in a folder or in a zip archive.
    """


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="A data set known by name, a new name, or a file or folder."
        ),
    ],
    *,
    path: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="The file or folder to read.")
    ] = None,
    question: Annotated[str | None, _column("--question", "the question")] = None,
    answer: Annotated[str | None, _column("--answer", "the answer or text")] = None,
    title: Annotated[str | None, _column("--title", "the title or subject")] = None,
    url: Annotated[str | None, _column("--url", "the address")] = None,
    id: Annotated[str | None, _column("--id", "the row's own id")] = None,
    source: Annotated[str | None, _column("--source", "who says so")] = None,
    dated: Annotated[str | None, _column("--date-column", "the date of each row")] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", metavar="WORDS", help="Its licence.")
    ] = None,
    attribution: Annotated[
        str | None, typer.Option("--attribution", metavar="WORDS", help="Whom to name for it.")
    ] = None,
    date: Annotated[
        str | None, typer.Option("--date", metavar="DATE", help="When it was written: 2026-01-31.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="KIND", help="What the files are, whatever their names."),
    ] = None,
    encoding: Annotated[
        str, typer.Option("--encoding", metavar="NAME", help="The encoding of text, if not UTF-8.")
    ] = "",
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep texts that say the same.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the first passages; store nothing.")
    ] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many to preview.")
    ] = 5,
    no_index: _NoIndex = False,
) -> int:
    """Read a data set or your own files into a corpus, and index it.

    Interrupted or killed, nothing half-made is in use, and the same command goes on.

    Exit codes: 0 added, 1 it could not be stored, 2 nothing in it can be used, 4 not fetched.
    """
    from medqa_tui.corpus.columns import Columns
    from medqa_tui.corpus.library import Terms
    from medqa_tui.corpus.sources import BUILTINS, Source

    name, where = corpus_work.place(name, path)
    wanted = Source(
        path=where,
        builtin=name if name in BUILTINS else None,
        columns=Columns(question, answer, title, url, id, source, dated),
        format=corpus_work.known_format(format),
        encoding=encoding,
        keep_duplicates=keep_duplicates,
    )
    terms = Terms(licence, attribution, corpus_work.known_date(date))
    if preview:
        with corpus_work.library(ctx, "Reading the first rows") as library:
            seen = library.preview(name, wanted, terms, lines)
        _show_preview(ctx, seen)
        return ExitCode.OK
    with corpus_work.library(ctx, f"Reading {name}") as library:
        outcome = library.add(name, wanted, terms)
    corpus_work.tell(outcome)
    _emit_outcomes(ctx, [outcome], indexed=corpus_work.index(ctx, skip=no_index))
    return ExitCode.OK


@app.command()
def update(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which; without any, all.")
    ] = None,
    *,
    path: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Read it from here from now on."),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make the store anew from all sources: it is damaged."),
    ] = False,
    no_index: _NoIndex = False,
) -> int:
    """Read corpora again from where they came from, and change only what differs.

    Exit codes: 0 up to date, 1 or 2 a corpus could not be read, 4 it could not be fetched.
    """
    if rebuild:
        with corpus_work.library(ctx, "Making the passage store anew") as library:
            outcomes, failures = library.rebuild()
    else:
        outcomes, failures = [], {}
        chosen = names or corpus_work.all_names()
        if path is not None and len(chosen) != 1:
            raise UsageError("--from goes with one corpus.", "", "medqa-tui corpus update NAME")
        for name in chosen:
            with corpus_work.library(ctx, f"Reading {name}") as library:
                try:
                    outcomes.append(library.update(name, path))
                except MedQAError as error:
                    if len(chosen) == 1 or error.exit_code == ExitCode.INTERRUPTED:
                        raise
                    failures[name] = error
    for name, failed in failures.items():
        diagnostics.warn(f"{name}: {failed}")
    for outcome in outcomes:
        corpus_work.tell(outcome)
    removed = any(each.change.removed or each.change.changed for each in outcomes)
    indexed = corpus_work.index(ctx, skip=no_index, removed=removed)
    _emit_outcomes(ctx, outcomes, indexed=indexed)
    return next((failed.exit_code for failed in failures.values()), ExitCode.OK)


@app.command()
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The corpus.")],
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    no_index: _NoIndex = False,
) -> int:
    """Delete a corpus; its text is overwritten on disk, and taken out of every search index.

    Exit codes: 0 removed, 1 removed, but not yet off the disk or out of an index, 2 no such corpus.
    """
    info = corpus_work.require(name)
    asking.before_deleting(
        ctx,
        f"Delete {name} ({info.passages} passages) for good?",
        yes=yes,
        again=f"medqa-tui corpus remove {name} --yes",
    )
    with corpus_work.library(ctx, f"Removing {name}") as library:
        gone = library.remove(name)
    indexed = corpus_work.index(ctx, skip=no_index, removed=True)
    if options.current(ctx).json:
        record = {"removed": name, "passages": gone.passages, "wiped": library.wiped}
        output.emit_record({**record, **_index_record(indexed)})
    return ExitCode.OK if library.wiped else ExitCode.FAILURE


app.command(name="list")(corpus_show.list_)
app.command()(corpus_switch.on)
app.command()(corpus_switch.off)
app.command()(corpus_show.show)
app.command()(corpus_show.stats)
app.command()(corpus_show.export)


def _show_preview(ctx: typer.Context, seen: Preview) -> None:
    passages = [corpus_show.passage_record(each) for each in seen.passages]
    if options.current(ctx).json:
        left_out = dict(seen.info.left_out)
        output.emit_record({"corpus": seen.info.name, "preview": passages, "left_out": left_out})
        return
    for each in passages:
        for key, value in each.items():
            if value:
                output.write(f"{key:<9} {value if isinstance(value, str) else ' | '.join(value)}")
        output.write()
    corpus_work.tell_left_out(seen.info.left_out)
    diagnostics.note("Nothing was stored.")


def _emit_outcomes(ctx: typer.Context, outcomes: list[Outcome], *, indexed: Indexed) -> None:
    if not options.current(ctx).json:
        return
    rows = [
        {
            **corpus_show.info_record(each.info),
            "added": each.change.added,
            "changed": each.change.changed,
            "removed": each.change.removed,
            "unchanged": each.change.unchanged,
            "rows": each.tally.rows,
            "left_out_file": str(each.rejects) if each.rejects else None,
        }
        for each in outcomes
    ]
    output.emit_record({"corpora": rows, **_index_record(indexed)})


def _index_record(indexed: Indexed) -> dict[str, object]:
    return {"indexed": indexed.current, "behind": list(indexed.behind)}
