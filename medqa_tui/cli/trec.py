"""Queries files and TREC runs, which any evaluation tool reads.

The run format is that of trec_eval (https://github.com/usnistgov/trec_eval): query id, `Q0`,
document id, rank, score, tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medqa_tui.domain import Evidence
from medqa_tui.errors import UsageError

TAG = "medqa-tui"
_HINT = "Check the path and the file, then give --queries again."
_ID_FIELDS = ("id", "_id", "qid", "query_id", "query-id")


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a queries file."""

    id: str
    text: str


def read_queries(path: Path, field: str = "text") -> list[Query]:
    """Return the queries of a JSONL file, or of a TSV file with an id and a text.

    Args:
        field: The JSONL field that holds the text.

    Raises:
        UsageError: The file cannot be read, or a line is not a query; the detail names the line.
    """
    try:
        # Not `splitlines`, which also cuts at U+2028 and the like inside a JSON text.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError("The queries file cannot be read.", f"{path}: {reason}.", _HINT) from error
    queries = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            is_json = line.lstrip().startswith("{")
            found = _of_json(line, field) if is_json else _of_tsv(line)
            if isinstance(found, str):
                raise UsageError(
                    "A line of the queries file is not a query.",
                    f"{path}, line {number}: {found}.",
                    "Write JSONL with an id and --query-field NAME, or TSV: id, tab, text.",
                )
            queries.append(found)
    if not queries:
        raise UsageError("The queries file is empty.", f"{path}.", _HINT)
    return queries


def _of_json(line: str, field: str) -> Query | str:
    try:
        row = json.loads(line)
    except ValueError as error:
        return f"it is not JSON ({error})"
    name = next((key for key in _ID_FIELDS if row.get(key) is not None), None)
    if name is None:
        return f"none of its fields is an id ({', '.join(_ID_FIELDS)})"
    text = row.get(field)
    if not isinstance(text, str) or not text.strip():
        return f"the field {field!r} holds no text; it has {', '.join(sorted(row))}"
    return Query(_token(str(row[name])), text)


def _of_tsv(line: str) -> Query | str:
    parts = line.split("\t")
    if len(parts) < 2 or not parts[0].strip() or not parts[1].strip():
        return "it is neither JSON nor an id, a tab and a text"
    return Query(_token(parts[0]), parts[1])


def documents(evidence: Iterable[Evidence], limit: int) -> list[str]:
    """Return up to `limit` document ids, best first, each once, at its best passage's rank."""
    names = dict.fromkeys(_token(item.passage.document) for item in evidence)
    return list(names)[:limit]


def scored(docnos: Iterable[str]) -> dict[str, float]:
    """Return the scores of documents that stand best first.

    A score is the reciprocal of the rank: evaluation tools sort by score, and the arms' own scores
    do not compare across re-ranking depth.
    """
    return {docno: 1 / rank for rank, docno in enumerate(docnos, 1)}


def run_lines(query: Query, docnos: Iterable[str]) -> Iterator[str]:
    """Yield the run's lines for one query."""
    for rank, (docno, score) in enumerate(scored(docnos).items(), 1):
        yield f"{query.id} Q0 {docno} {rank} {score:.6f} {TAG}"


def _token(text: str) -> str:
    # The format separates its columns by white space.
    return "_".join(text.split())
