"""`medqa-tui eval`: figures of standard measures, with intervals."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.cli.search_options import Corpora, NoRerank, Queries, QueryField
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.cli.searching import Wanted
    from medqa_tui.cli.trec import Query
    from medqa_tui.evaluation.retrieval import Comparison, Interval, Measured
    from medqa_tui.evaluation.trec import Run

app = options.new_app("Measure how good the search is.")


class Way(StrEnum):
    """Which arms take part; typer takes several of an enum, not of literals."""

    HYBRID = "hybrid"
    BM25 = "bm25"
    DENSE = "dense"


_MODES: dict[Way | None, Literal["hybrid", "bm25", "dense"]] = {
    Way.HYBRID: "hybrid",
    Way.BM25: "bm25",
    Way.DENSE: "dense",
}
_EXAMPLE = "medqa-tui eval retrieval --queries FILE --qrels FILE"


@app.callback()
def evaluation() -> None:
    """Measure how good the search is."""


@app.command()
def retrieval(
    ctx: typer.Context,
    *,
    qrels: Annotated[
        Path, typer.Option("--qrels", metavar="FILE", help="Judgements: query, document, label.")
    ],
    queries: Queries = None,
    query_field: QueryField = "text",
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", metavar="FILE", help="A TREC run to measure; may be repeated."),
    ] = None,
    mode: Annotated[
        list[Way] | None,
        typer.Option(
            "--mode",
            metavar="hybrid|bm25|dense",
            help="Search the queries this way; may be repeated.",
        ),
    ] = None,
    corpus: Corpora = None,
    no_rerank: NoRerank = False,
    gains: Annotated[
        str,
        typer.Option("--gains", metavar="MAP", help="Gain of a label: label-1, or 1=0,2=1,3=2."),
    ] = "label",
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=1000, help="Cutoff of the measures.")
    ] = 10,
) -> int:
    """Measure runs, or the search itself, against judgements; each against the first.

    nDCG, reciprocal rank, average precision, recall, and the share of the results that anybody
    judged, as means over the queries that have something relevant, with 95% bootstrap intervals.
    A second run is compared with the first by a paired randomisation test.

    Exit codes: 0 measured, 1 failure, 2 usage, 3 not set up.
    """
    from medqa_tui.evaluation import retrieval as measuring
    from medqa_tui.evaluation import trec

    if run and (queries or mode):
        raise UsageError("--run excludes --queries and --mode.", "", _EXAMPLE)
    if not run and queries is None:
        raise UsageError("There is nothing to measure.", "", f"{_EXAMPLE}, or --run FILE")
    judged = trec.with_gains(trec.read_qrels(qrels), trec.read_gains(gains))
    if not judged:
        raise UsageError(
            "No query has a relevant document.",
            f"{qrels}.",
            "Look at what the labels mean: --gains label-1",
        )
    if run:
        runs = {str(path): trec.read_run(path) for path in run}
    else:
        assert queries is not None
        from medqa_tui.cli.searching import RUN_DEPTH, Wanted
        from medqa_tui.cli.trec import read_queries

        # What is not judged is not searched for.
        asked = [query for query in read_queries(queries, query_field) if query.id in judged]
        wishes = [
            Wanted(max(k, RUN_DEPTH), _MODES.get(one), tuple(corpus or ()), rerank=not no_rerank)
            for one in dict.fromkeys(mode or (None,))
        ]
        runs = _search(options.current(ctx), asked, wishes)
    measured = {name: measuring.evaluate(judged, found, k) for name, found in runs.items()}
    first = next(iter(measured.values()))
    compared = {name: measuring.compare(first, other) for name, other in list(measured.items())[1:]}
    _tell(options.current(ctx).json, measured, compared)
    return ExitCode.OK


def _search(chosen: options.Options, queries: list[Query], wishes: list[Wanted]) -> dict[str, Run]:
    """Return a run for each way to search, by its mode."""
    from medqa_tui.cli.searching import rank
    from medqa_tui.cli.trec import scored

    found: dict[str, Run] = {}
    for wanted in wishes:
        run: Run = {}
        for query, names in asyncio.run(rank(chosen, wanted, queries)):
            if names:
                run.setdefault(query.id, {}).update(scored(names))
        found[wanted.mode or "search"] = run
    return found


def _tell(
    as_json: bool, measured: dict[str, Measured], compared: dict[str, dict[str, Comparison]]
) -> None:
    figures = {name: found.intervals() for name, found in measured.items()}
    queries = len(next(iter(measured.values())).queries)
    if as_json:
        output.emit_record(_record(queries, figures, compared))
        return
    names = list(next(iter(figures.values())))
    output.table(
        ("run", *names),
        [(name, *(_text(of[measure]) for measure in names)) for name, of in figures.items()],
    )
    if compared:
        output.write("")
        output.table(
            ("less the first", *names),
            [
                (name, *(f"{_text(of[m].difference, '+')} p {of[m].p:.3f}" for m in names))
                for name, of in compared.items()
            ],
        )
    diagnostics.note(f"Means over {queries} queries, with 95% intervals.")


def _text(interval: Interval, sign: str = "") -> str:
    mean, low, high = interval.mean, interval.low, interval.high
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _record(
    queries: int,
    figures: dict[str, dict[str, Interval]],
    compared: dict[str, dict[str, Comparison]],
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "queries": queries,
        "runs": [
            {
                "name": name,
                "measures": {measure: asdict(value) for measure, value in of.items()},
                "less_the_first": {m: asdict(c) for m, c in compared[name].items()}
                if name in compared
                else None,
            }
            for name, of in figures.items()
        ],
    }
