"""The options of commands that search for many queries, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Corpora = Annotated[
    list[str] | None,
    typer.Option("--corpus", metavar="NAME", help="Search only this corpus; may be repeated."),
]
NoRerank = Annotated[bool, typer.Option("--no-rerank", help="Leave the cross-encoder out.")]
Queries = Annotated[
    Path | None,
    typer.Option("--queries", metavar="FILE", help="JSONL or TSV with a query a line."),
]
QueryField = Annotated[
    str, typer.Option("--query-field", metavar="NAME", help="The JSONL field with the text.")
]
