"""`medqa-tui history export` and `import`: the history as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.cli.files import write_private
from medqa_tui.cli.history_shared import Since, find, open_store, parse_since
from medqa_tui.cli.words import counted
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.history.transfer import ExportFormat

_ENDINGS = {".md": "md", ".markdown": "md", ".json": "json", ".html": "html", ".htm": "html"}


def export(
    ctx: typer.Context,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="Their numbers; without, all.")
    ] = None,
    *,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="md|json|html", help="By default what the file's name says."
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout.")
    ] = None,
    since: Since = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file.", show_default=False)
    ] = False,
) -> int:
    """Write questions, answers and their evidence as Markdown, JSON or a page for a browser.

    Exit codes: 0 written, 1 there is nothing to write or it cannot be written, 2 usage.
    """
    from medqa_tui.history.transfer import export as document

    chosen = _format(form, target, json=options.current(ctx).json)
    start = parse_since(since)
    store = open_store()
    for id in ids or ():
        find(store, id)
    entries = store.whole(ids or (), start)
    if not entries:
        raise MedQAError("There is nothing to export.", "", "medqa-tui history list")
    text = document(entries, chosen)
    if target is None:
        output.write(text, end="")
        return ExitCode.OK
    write_private(target, text, force=force, option="--force")
    if options.current(ctx).json:
        output.emit_record({"path": str(target), "format": chosen.value, "entries": len(entries)})
    else:
        diagnostics.note(
            f"{counted(len(entries), 'question')} written to {target}, for your eyes only."
        )
    return ExitCode.OK


def import_(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A JSON export; - reads it from stdin.")
    ],
) -> int:
    """Add what was exported as JSON; importing it again changes nothing."""
    from medqa_tui.history.transfer import import_json

    added, known = import_json(open_store(), _read(source))
    if options.current(ctx).json:
        output.emit_record({"added": added, "known": known})
    else:
        diagnostics.note(f"{counted(added, 'question')} added; {known} were here already.")
    return ExitCode.OK


def _format(form: str | None, target: Path | None, *, json: bool) -> ExportFormat:
    """Return the format asked for, or what the file's name or `--json` say, or Markdown.

    Raises:
        UsageError: There is no such format.
    """
    from medqa_tui.history.transfer import ExportFormat

    named = _ENDINGS.get(target.suffix.lower()) if target is not None else None
    wanted = form or named or ("json" if json and target is None else "md")
    wanted = {"markdown": "md"}.get(wanted.lower(), wanted.lower())
    if wanted not in set(ExportFormat):
        raise UsageError(
            "There is no such format:", f"{form}.", "One of: --format md, json or html"
        )
    return ExportFormat(wanted)


def _read(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            "The file could not be read.",
            f"{source}: {error.strerror or error}.",
            "medqa-tui history import FILE",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            "This is no UTF-8 text.",
            f"{source}, byte {error.start}.",
            "medqa-tui history export --format json --output FILE",
        ) from error
