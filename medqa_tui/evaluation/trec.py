"""Relevance judgements and runs in the formats of trec_eval, read with words for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from medqa_tui.errors import UsageError

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]

_HEADERS = {"query_id", "query-id", "qid", "topic", "query"}


def read_qrels(path: Path) -> Qrels:
    """Return query -> document -> label.

    A line is `query 0 document label`, or `query document label` as the TSV files of Q/A sets have
    it; further columns and a line of headings are passed over.

    Raises:
        UsageError: The file cannot be read, or a line is none of these; the detail names it.
    """
    found: Qrels = {}
    for number, columns in _rows(path, "--qrels"):
        if len(columns) >= 4 and _is_whole(columns[3]) and columns[1] in {"0", "Q0", "1"}:
            query, document, label = columns[0], columns[2], columns[3]
        elif len(columns) >= 3 and _is_whole(columns[2]):
            query, document, label = columns[:3]
        elif number == 1 and columns[0].lower() in _HEADERS:
            continue
        else:
            raise _bad_line(path, number, "a query, a document and a whole-numbered label")
        found.setdefault(query, {})[document] = int(label)
    if not found:
        raise UsageError(
            "There is no judgement in the file.", f"{path}.", "Give another file: --qrels FILE"
        )
    return found


def read_run(path: Path) -> Run:
    """Return query -> document -> score of a TREC run.

    Raises:
        UsageError: The file cannot be read, or a line is not of a run; the detail names it.
    """
    found: Run = {}
    for number, columns in _rows(path, "--run"):
        try:
            query, _, document, _, score = columns[:5]
            value = float(score)
        except ValueError:
            raise _bad_line(path, number, "query, Q0, document, rank, score, tag") from None
        found.setdefault(query, {})[document] = value
    if not found:
        raise UsageError(
            "There is nothing in the run.", f"{path}.", "Give another file: --run FILE"
        )
    return found


def read_gains(text: str) -> Callable[[int], int]:
    """Return the gain of a label, from `label-1` or from pairs such as `1=0,2=1,3=2`.

    Raises:
        UsageError: It is neither, or a label has no gain.
    """
    plain = text.replace(" ", "")
    if plain.startswith("label") and (plain == "label" or _is_whole(plain[5:])):
        offset = int(plain[5:] or 0)
        return lambda label: max(0, label + offset)
    pairs = [pair.partition("=") for pair in plain.split(",")]
    if not all(_is_whole(left) and equals and _is_whole(right) for left, equals, right in pairs):
        raise UsageError(
            "The gains are not understood.", f"{text}.", "Write it as: --gains label-1"
        )
    gains = {int(left): int(right) for left, _, right in pairs}

    def gain(label: int) -> int:
        if label not in gains:
            raise UsageError(
                "A label has no gain.", f"{label} is not in {text}.", "Name each: --gains 1=0,2=1"
            )
        return gains[label]

    return gain


def with_gains(qrels: Mapping[str, Mapping[str, int]], gain: Callable[[int], int]) -> Qrels:
    """Return the judgements as gains, of those queries that have one above 0."""
    mapped = {
        query: {document: gain(label) for document, label in judged.items()}
        for query, judged in qrels.items()
    }
    return {query: judged for query, judged in mapped.items() if max(judged.values()) > 0}


def _rows(path: Path, option: str) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            "The file cannot be read.", f"{path}: {reason}.", f"Give another file: {option} FILE"
        ) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line.split()


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").removeprefix("+").isdecimal()


def _bad_line(path: Path, number: int, wanted: str) -> UsageError:
    return UsageError(
        "A line of the file is not understood.",
        f"{path}, line {number}: it should hold {wanted}.",
        "Its format is that of trec_eval: https://github.com/usnistgov/trec_eval",
    )
