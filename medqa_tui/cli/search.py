"""`medqa-tui search`: the evidence for a question, or a TREC run for many."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medqa_tui.cli import diagnostics, options, output, terminal
from medqa_tui.cli.options import Options
from medqa_tui.cli.passages import text_of
from medqa_tui.cli.search_options import Corpora, NoRerank, Queries, QueryField
from medqa_tui.cli.words import wrapped
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.cli.searching import Wanted
    from medqa_tui.domain import Evidence, Triage
    from medqa_tui.events import EvidenceFound

_SCORES = ("n", "bm25 rank", "bm25", "dense rank", "dense", "fused", "rerank")
_WIDE = 110
"""Columns that a table with titles and terms beside the scores needs to be readable."""

_HINT = 'medqa-tui search "high blood pressure"'


def command(
    ctx: typer.Context,
    *,
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="What to look for, or - for stdin."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", metavar="N", min=1, max=1000, help="How many results."),
    ] = None,
    mode: Annotated[
        Literal["hybrid", "bm25", "dense"] | None,
        typer.Option("--mode", metavar="hybrid|bm25|dense", help="Which arms take part."),
    ] = None,
    corpus: Corpora = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="TEXT",
            help="Only passages of this source or address; may be repeated.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="Only passages from this date on."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DATE", help="Only passages up to this date."),
    ] = None,
    no_rerank: NoRerank = False,
    queries: Queries = None,
    query_field: QueryField = "text",
    run_out: Annotated[
        Path | None, typer.Option("--run-out", metavar="FILE", help="Where the TREC run goes.")
    ] = None,
) -> int:
    """Show the evidence for a question, without an answer.

    With --queries and --run-out it writes a TREC run of 100 documents a query (or -k of them).

    Exit codes: 0 found, 1 failure, 2 usage, 3 not set up, 5 nothing relevant found, 10 emergency
    (the advice comes first, then what was found).
    """
    from medqa_tui.cli.ask import read_question

    chosen = options.current(ctx)
    if (queries is None) != (run_out is None):
        raise UsageError(
            "A run needs both its queries and its file.",
            "",
            "medqa-tui search --queries FILE --run-out FILE",
        )
    if queries is not None and query:
        raise UsageError("A query and --queries exclude each other.", "", _HINT)
    from medqa_tui.cli.searching import Wanted

    wanted = Wanted(
        *(k, mode, tuple(corpus or ())),
        rerank=not no_rerank,
        sources=tuple(source or ()),
        since=_date(since, "--since"),
        until=_date(until, "--until"),
    )
    if queries is not None and run_out is not None:
        return _write_run(chosen, wanted, queries, query_field, run_out)
    text = read_question(query or [], chosen, _HINT)
    if text is None:
        raise UsageError("There is no query.", "", _HINT)
    from medqa_tui.cli import advice

    alarm = advice.give(text, silent=chosen.json)
    found = asyncio.run(_one(chosen, wanted, text))
    _show(chosen, text, found, alarm)
    if alarm.is_emergency:
        return ExitCode.EMERGENCY
    return ExitCode.OK if found.relevant and found.evidence else ExitCode.ABSTAINED


def _date(text: str | None, option: str) -> str:
    """Return an ISO date or the beginning of one.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return ""
    from datetime import date

    try:
        date.fromisoformat(text + "0000-01-01"[len(text) :])
    except ValueError:
        text = ""
    if len(text) not in {4, 7, 10}:
        raise UsageError("This is no date.", f"{option} wants 2016, 2016-05 or 2016-05-31.", _HINT)
    return text


async def _one(chosen: Options, wanted: Wanted, text: str) -> EvidenceFound:
    from medqa_tui.cli.searching import open_search

    async with open_search(chosen, wanted) as search:
        return await search.find(text)


def _show(chosen: Options, text: str, found: EvidenceFound, alarm: Triage) -> None:
    if chosen.json:
        from medqa_tui.contract import evidence_record
        from medqa_tui.retrieval.lexical import matched_terms

        record = {
            "query": text,
            "relevant": found.relevant,
            "evidence": [
                {
                    **evidence_record(item),
                    "matched_terms": list(matched_terms(text, text_of(item.passage))),
                }
                for item in found.evidence
            ],
            "triage": {
                "level": alarm.level.value,
                "rules": list(alarm.rules),
                "advice": alarm.advice,
            },
        }
        output.emit_record(record)
    elif found.evidence:
        _table(found.evidence, text)
        output.write()
        for line in dict.fromkeys(_terms(item) for item in found.evidence):
            output.write(line, style="dim")
    if not found.evidence:
        diagnostics.note("Nothing was found.")
    elif not found.relevant:
        diagnostics.note("Nothing of this is near enough to the question to answer it from.")


def _table(found: Sequence[Evidence], query: str) -> None:
    """Write what was found: a row each, or where that is too wide, a list and then the scores."""
    rows = [_row(item, query) for item in found]
    if terminal.width(sys.stdout) >= _WIDE:
        output.table((*_SCORES[:1], "passage", *_SCORES[1:], "corpus", "matched terms"), rows)
        return
    for n, title, *_, corpus, terms in rows:
        line = f"[{n}] {title} - {corpus}"
        output.write(wrapped(line, terminal.width(sys.stdout), "    "))
        if terms:
            output.write(f"    matched: {terms}", style="dim")
    output.write()
    output.table(_SCORES, [(row[0], *row[2 : 1 + len(_SCORES)]) for row in rows])


def _row(item: Evidence, query: str) -> tuple[object, ...]:
    from medqa_tui.cli.passages import passage_title
    from medqa_tui.retrieval.lexical import matched_terms

    scores = item.scores
    return (
        item.n,
        passage_title(item.passage),
        scores.bm25_rank,
        _figure(scores.bm25, 2),
        scores.dense_rank,
        _figure(scores.dense, 3),
        _figure(scores.fused, 3),
        _figure(scores.rerank, 2),
        item.passage.corpus,
        ", ".join(matched_terms(query, text_of(item.passage))),
    )


def _terms(item: Evidence) -> str:
    return f"{item.passage.corpus}: {', '.join(item.passage.terms) or 'licence not stated'}"


def _figure(score: float | None, digits: int) -> str | None:
    return None if score is None else f"{score:.{digits}f}"


def _write_run(chosen: Options, wanted: Wanted, path: Path, field: str, out: Path) -> int:
    from medqa_tui.cli.searching import rank
    from medqa_tui.cli.trec import read_queries, run_lines

    queries = read_queries(path, field)
    ranked = asyncio.run(rank(chosen, wanted, queries))
    lines = [line for query, names in ranked for line in run_lines(query, names)]
    try:
        out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "The run cannot be written.",
            f"{out}: {error.strerror}.",
            "Give another file: --run-out FILE",
        ) from error
    diagnostics.note(f"Wrote {len(lines)} lines for {len(queries)} queries to {out}.")
    return ExitCode.OK
