"""Held-out questions from a file, and the words for what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medqa_tui.errors import UsageError
from medqa_tui.evaluation.cases import data_sha256, read_cases, write_cases

ROW = {
    "id": "one",
    "question": "What helps with the flu?",
    "reference": "Rest helps.",
    "evidence": [{"title": "Flu", "text": "Rest helps with the flu."}],
    "answerable": True,
}


def written(tmp_path: Path, *rows: dict) -> Path:
    path = tmp_path / "heldout.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    other = {**ROW, "id": 2, "answerable": False, "reference": "", "relevant": False}
    cases = read_cases(written(tmp_path, ROW, other))
    assert [case.id for case in cases] == ["one", "2"]
    assert [case.answerable for case in cases] == [True, False]
    assert cases[0].evidence[0].n == 1
    assert cases[1].relevant is False
    write_cases(tmp_path / "again.jsonl", cases)
    again = read_cases(tmp_path / "again.jsonl")
    assert data_sha256(again) == data_sha256(cases)
    assert [case.relevant for case in again] == [None, False]


def test_the_hash_knows_what_is_asked_and_shown(tmp_path: Path) -> None:
    changed = {**ROW, "evidence": [{"title": "Flu", "text": "Sleep helps with the flu."}]}
    first, second = (read_cases(written(tmp_path, row)) for row in (ROW, changed))
    assert first[0].key != second[0].key
    assert data_sha256(first) != data_sha256(second)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reference": " "}, 'no "reference"'),
        ({"question": None}, 'no "question"'),
        ({"evidence": []}, 'no "evidence"'),
        ({"evidence": [{"title": "Flu"}]}, '"evidence" is a list'),
        ({"evidence": ["Flu"]}, '"evidence" is a list'),
        ({"answerable": "yes"}, '"answerable"'),
        ({"close": "no"}, '"close"'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict, said: str) -> None:
    path = written(tmp_path, ROW, {**ROW, "id": "two", **change})
    with pytest.raises(UsageError) as refused:
        read_cases(path)
    assert "line 2" in refused.value.detail
    assert said in refused.value.detail


def test_a_file_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n", encoding="utf-8")
    for path in (empty, tmp_path / "nowhere.jsonl", written(tmp_path, ROW, ROW)):
        with pytest.raises(UsageError):
            read_cases(path)
