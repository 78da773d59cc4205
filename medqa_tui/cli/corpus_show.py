"""Looking at corpora: the list, what is in one, its figures, and all of it as JSON Lines."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import corpus_cards, corpus_work, diagnostics, options, output
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.corpus.figures import CorpusFigures
    from medqa_tui.corpus.record import CorpusInfo, PassageRecord
    from medqa_tui.corpus.store import CorpusStore

_STARTER = "starter"
_Name = Annotated[str, typer.Argument(metavar="CORPUS", help="The corpus.")]


def list_(ctx: typer.Context) -> int:
    """List the corpora that are stored, with their licences, and those known by name.

    `on` says which are searched with the profile in use: see corpus on, corpus off.
    """
    from medqa_tui.config import load_settings
    from medqa_tui.corpus.sources import BUILTINS

    settings = load_settings(options.current(ctx).overrides())
    chosen = settings.retrieval.corpora_of(settings.profile)
    with corpus_work.open_store() as store:
        infos = store.corpora()
    searched = {info.name for info in infos if not chosen or info.name in chosen}
    more = [each for each in BUILTINS.values() if each.name not in {info.name for info in infos}]
    if options.current(ctx).json:
        known = [
            {"name": each.name, "title": each.title, "licence": each.licence, "url": each.homepage}
            for each in more
        ]
        rows = [{**info_record(info), "on": info.name in searched} for info in infos]
        output.emit_record({"profile": settings.profile, "corpora": rows, "available": known})
        return ExitCode.OK
    output.table(
        ("corpus", "on", "passages", "documents", "licence", "date", "revision", "updated"),
        [
            (
                *(i.name, "yes" if i.name in searched else "no", i.passages, i.documents),
                *(i.licence or "not stated", i.date, i.revision, i.updated),
            )
            for i in infos
        ],
    )
    for name in chosen:
        if name not in searched:
            diagnostics.note(f"Switched on, and not there: {name}.")
    for each in more:
        diagnostics.note(f"Known by name: {each.name} ({each.title}).")
    return ExitCode.OK


def show(
    ctx: typer.Context,
    name: _Name,
    document: Annotated[
        str | None, typer.Argument(metavar="DOCUMENT", help="One, by its id, in full.")
    ] = None,
    *,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="WORDS", help="Only titles with these words.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option("--category", metavar="WORDS", help="Only these categories (starter)."),
    ] = None,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="How many to list.")
    ] = 20,
) -> int:
    """Show where a corpus is from and what is in it, or one of its documents in full.

    Exit codes: 0 shown, 2 no such corpus or document, 5 nothing fits.
    """
    if name == _STARTER:
        return corpus_cards.show_cards(ctx, document, topic, category)
    with _store_with(name) as store:
        info = store.corpus(name)
        assert info is not None
        if document is not None:
            return _show_document(ctx, store, info, document)
        found = []
        for record in store.records((name,)):
            passage = record.passage
            if passage.id.endswith("#0") and (topic or "").lower() in passage.title.lower():
                found.append((passage.document, passage.title, passage.question or ""))
                if len(found) == lines:
                    break
    if options.current(ctx).json:
        rows = [{"id": row[0], "title": row[1], "question": row[2]} for row in found]
        output.emit_record({**info_record(info), "documents_shown": rows})
    else:
        _show_info(info)
        output.write()
        output.table(("document", "title", "question"), found)
        if len(found) < info.documents and len(found) == lines:
            diagnostics.note(f"{len(found)} of {info.documents} documents; -n shows more.")
    return ExitCode.OK if found else ExitCode.ABSTAINED


def stats(ctx: typer.Context, name: _Name) -> int:
    """Count what a corpus holds: documents, passages, words, sources, licences, what was left out.

    Of the starter corpus: categories, topics, words, sources, how many cards are checked.
    """
    if name == _STARTER:
        return corpus_cards.count_cards(ctx)
    from medqa_tui.corpus.figures import figures_of

    with _store_with(name) as store:
        info = store.corpus(name)
        assert info is not None
        figures = figures_of(store.records((name,)))
    if options.current(ctx).json:
        from dataclasses import asdict

        output.emit_record({**info_record(info), "figures": asdict(figures)})
        return ExitCode.OK
    output.table(("what", "value"), _figure_rows(info, figures))
    for header, counted in (
        ("source", figures.sources),
        ("site", figures.sites),
        ("licence", figures.licences),
    ):
        if counted:
            output.write()
            output.table((header, "passages"), counted[:20])
    if info.left_out:
        output.write()
        output.table(("left out", "rows"), Counter(info.left_out).most_common())
    return ExitCode.OK


def export(
    ctx: typer.Context,
    name: _Name,
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write it here.")
    ] = None,
) -> int:
    """Write every passage of a corpus as JSON Lines, with its terms: to a file, or to stdout."""
    with _store_with(name) as store:
        if out is None:
            for record in store.records((name,)):
                output.emit_json(passage_record(record))
            return ExitCode.OK
        _write(store, name, out.expanduser())
        count = store.count((name,))
    diagnostics.note(f"{count} passages of {name} are in {out}.")
    return ExitCode.OK


def _write(store: CorpusStore, name: str, out: Path) -> None:
    import json

    from medqa_tui.models.files import disk_error

    beside = out.with_name(f".{out.name}.new")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for record in store.records((name,)):
                file.write(json.dumps(passage_record(record), ensure_ascii=False) + "\n")
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        again = shlex.join(["medqa-tui", "corpus", "export", name, "--out", str(out)])
        raise disk_error(error, out.parent, again) from error


def passage_record(record: PassageRecord) -> dict[str, Any]:
    """Return a passage as it is shown and exported."""
    passage = record.passage
    return {
        "id": passage.id.partition(":")[2],
        "corpus": passage.corpus,
        "document": passage.document,
        "title": passage.title,
        "question": passage.question,
        "text": passage.text,
        "source": passage.source,
        "url": passage.url,
        "licence": passage.licence,
        "date": passage.date,
        "revision": passage.revision,
        "phrasings": list(record.phrasings),
    }


def info_record(info: CorpusInfo) -> dict[str, Any]:
    """Return what is known of a corpus, for JSON."""
    from medqa_tui.corpus.names import place_of

    return {
        "corpus": info.name,
        "passages": info.passages,
        "documents": info.documents,
        "licence": info.licence,
        "attribution": info.attribution,
        "revision": info.revision,
        "date": info.date,
        "from": place_of(info),
        "left_out": dict(info.left_out),
        "updated": info.updated,
    }


def _store_with(name: str) -> CorpusStore:
    """Return the store, if it has the corpus.

    Raises:
        UsageError: It has not.
    """
    from medqa_tui.corpus.names import require
    from medqa_tui.corpus.sources import BUILTINS

    try:
        store = corpus_work.open_store()
    except MedQAError as error:
        if name in BUILTINS or error.exit_code != ExitCode.NOT_SET_UP:
            raise
        raise corpus_cards.unknown(
            "corpus", name, [_STARTER], "medqa-tui corpus list", "medqa-tui corpus stats {}"
        ) from error
    try:
        require(store, name)
    except UsageError:
        store.close()
        raise
    return store


def _show_info(info: CorpusInfo) -> None:
    record = info_record(info)
    record.pop("left_out")
    left_out = info.rows_left_out
    for label, value in {**record, "left out": f"{left_out} rows" if left_out else None}.items():
        if value is not None:
            output.write(f"{label:<11}  {value}")


def _show_document(ctx: typer.Context, store: CorpusStore, info: CorpusInfo, id: str) -> int:
    records = store.document(info.name, id)
    if not records:
        raise UsageError(
            "There is no such document:",
            f"{id} in {info.name}.",
            f"medqa-tui corpus show {info.name}",
        )
    if options.current(ctx).json:
        output.emit_record(
            {**info_record(info), "passages_shown": [passage_record(each) for each in records]}
        )
        return ExitCode.OK
    first = records[0].passage
    output.write(first.question or first.title, style="bold")
    for record in records:
        output.write()
        output.write(record.passage.text)
    output.write()
    rows = (
        ("document", first.document),
        ("title", first.title),
        ("source", first.source),
        ("address", first.url),
        ("licence", first.licence or "not stated"),
        ("by", info.attribution),
        ("date", first.date),
        ("revision", info.revision),
    )
    for label, value in rows:
        if value:
            output.write(f"{label:<9}  {value}")
    return ExitCode.OK


def _figure_rows(info: CorpusInfo, figures: CorpusFigures) -> list[tuple[str, str]]:
    least, median, mean, most = figures.words
    dates = " to ".join(dict.fromkeys(each for each in figures.dates if each))
    return [
        ("passages", str(info.passages)),
        ("documents", str(info.documents)),
        ("with a question", str(figures.with_question)),
        ("words a passage", f"{least} to {most}, median {median:.0f}, mean {mean:.0f}"),
        ("dates", dates or "not stated"),
        ("licence", info.licence or "not stated"),
        ("by", info.attribution or "not stated"),
        ("revision", info.revision or "not known"),
        ("left out", f"{info.rows_left_out} rows"),
    ]
