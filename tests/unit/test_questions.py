"""The questions that retrieval is measured on, and their labels, are whole and fit the cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medqa_tui.corpus.cards import load_cards

FOLDER = Path(__file__).resolve().parents[1] / "data" / "questions"


def read(name: str) -> list[dict[str, object]]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("name", "count"), [("answerable", 200), ("unanswerable", 40)])
def test_no_question_stands_twice(name: str, count: int) -> None:
    rows = read(name)
    assert len(rows) == count
    assert len({row["id"] for row in rows}) == count
    assert len({str(row["question"]).lower() for row in rows}) == count


def test_every_question_is_labelled_with_cards_that_exist() -> None:
    labels = read("labels")
    assert [row["id"] for row in labels] == [row["id"] for row in read("answerable")]
    known = {card.id for card in load_cards()}
    for row in labels:
        assert isinstance(row["cards"], list)
        assert known.issuperset(row["cards"]), row
