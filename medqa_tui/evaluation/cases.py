"""Questions to compare systems on, each with what may be read and what a good answer says.

One JSON object a line: {"id", "question", "reference", "evidence": [{"title", "text", "question"?,
"id"?, "source"?}], "answerable": true | false}. An unanswerable one needs no reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.domain import Evidence, Passage
from medqa_tui.errors import UsageError

FORMAT = (
    'One object a line: {"id": ..., "question": ..., "reference": ..., '
    '"evidence": [{"title": ..., "text": ...}], "answerable": true}'
)


@dataclass(frozen=True, slots=True)
class Case:
    """A question of the held-out set.

    Attributes:
        reference: What a good answer says; may be empty where none can be given.
        evidence: The passages that are read, best first, numbered as they are cited.
        answerable: Whether the evidence answers.
        relevant: Whether the search would hand this evidence on at all; None if nobody looked.
        close: Whether it is so near that a model that declines is not believed; None the same.
    """

    id: str
    question: str
    reference: str
    evidence: tuple[Evidence, ...]
    answerable: bool = True
    relevant: bool | None = None
    close: bool | None = None

    @property
    def key(self) -> str:
        """SHA-256 (hex) of what an answer to it depends on, and its reference."""
        return content_key(self.evidence, self.question, self.reference)


def content_key(evidence: Sequence[Evidence], *texts: str) -> str:
    """Return the SHA-256 (hex) of passages as a model reads them, and of texts beside them."""
    shown = [[item.n, item.passage.title, item.passage.text] for item in evidence]
    return hashlib.sha256(json.dumps([*texts, shown]).encode()).hexdigest()


def data_sha256(cases: Sequence[Case]) -> str:
    """Return the SHA-256 (hex) of a whole set: its questions, evidence, references and labels."""
    rows = [[case.id, case.key, case.answerable] for case in cases]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_cases(path: Path) -> tuple[Case, ...]:
    """Return the cases of a JSONL file, in its order.

    Raises:
        UsageError: The file cannot be read or a line is not a case; the detail names it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            "The held-out questions cannot be read.", f"{path}: {reason}.", FORMAT
        ) from error
    cases = tuple(_case(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not cases:
        raise UsageError("There is no question in the file.", f"{path}.", FORMAT)
    known: set[str] = set()
    for case in cases:
        if case.id in known:
            raise UsageError("Two questions have one id.", f"{path}: {case.id}.", FORMAT)
        known.add(case.id)
    return cases


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """Write a set so that `read_cases` reads it, in one atomic step."""
    from medqa_tui.models.files import write_atomic

    lines = [json.dumps(_row(case), ensure_ascii=False) for case in cases]
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())


def _row(case: Case) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": case.id,
        "question": case.question,
        "reference": case.reference,
        "evidence": [
            {
                "n": item.n,
                "id": item.passage.id,
                "title": item.passage.title,
                "question": item.passage.question,
                "text": item.passage.text,
                "source": item.passage.source,
            }
            for item in case.evidence
        ],
        "answerable": case.answerable,
    }
    judged = {"relevant": case.relevant, "close": case.close}
    return row | {name: value for name, value in judged.items() if value is not None}


def _case(path: Path, number: int, line: str) -> Case:
    def wrong(why: str) -> UsageError:
        return UsageError(
            "A held-out question is not as expected.", f"{path}, line {number}: {why}.", FORMAT
        )

    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise wrong("it is no JSON") from error
    if not isinstance(row, dict):
        raise wrong("it is no object")
    question, reference = row.get("question"), row.get("reference", "")
    answerable = row.get("answerable", True)
    if not isinstance(question, str) or not question.strip():
        raise wrong('it has no "question"')
    if type(answerable) is not bool:
        raise wrong('"answerable" is neither true nor false')
    if not isinstance(reference, str) or (answerable and not reference.strip()):
        raise wrong('it has no "reference"')
    judged = {name: row.get(name) for name in ("relevant", "close")}
    if any(value not in (None, True, False) for value in judged.values()):
        raise wrong('"relevant" and "close" are true or false')
    shown = row.get("evidence")
    if not isinstance(shown, list) or not shown:
        raise wrong('it has no "evidence"')
    try:
        evidence = read_evidence(shown)
    except (TypeError, KeyError, ValueError) as error:
        raise wrong('"evidence" is a list of {"title": ..., "text": ...}') from error
    name = row.get("id")
    return Case(
        str(name) if isinstance(name, str | int) else f"line-{number}",
        question.strip(),
        reference.strip(),
        evidence,
        answerable,
        **judged,
    )


def read_evidence(shown: Sequence[Any]) -> tuple[Evidence, ...]:
    """Return the passages of a row's "evidence", numbered as it says or from 1.

    Raises:
        TypeError, KeyError, ValueError: One of them is no passage.
    """
    return tuple(_evidence(item, n) for n, item in enumerate(shown, 1))


def _evidence(item: dict[str, Any], number: int) -> Evidence:
    title, text = item["title"], item["text"]
    question, source, n = item.get("question"), item.get("source"), item.get("n", number)
    texts = (title, text, *(part for part in (question, source) if part is not None))
    if not all(isinstance(part, str) for part in texts) or not text.strip() or type(n) is not int:
        raise ValueError("texts are wanted")
    name = str(item.get("id") or f"given:{number}#0")
    return Evidence(n, Passage(name, "given", name, title, text, question, source))
