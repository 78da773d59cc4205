"""The checks over a table of true and false sentences about real cards and made-up passages."""

import tomllib
from pathlib import Path

import pytest

from medqa_tui.backend import GroundRequest
from medqa_tui.corpus.cards import load_cards
from medqa_tui.domain import Evidence, GeneratorKind, Passage, Support
from medqa_tui.grounding.support import SupportChecker

TABLE = tomllib.loads(
    (Path(__file__).parents[1] / "data" / "support_cases.toml").read_text(encoding="utf-8")
)
BLENDS = {"blend", "contrast"}


@pytest.fixture(scope="module")
def passages():
    """Return the cards and the made-up passages by their ids."""
    found = {
        row["id"]: Passage(
            f"c:{row['id']}#0", "c", row["id"], row["title"], row["text"], row["question"]
        )
        for row in TABLE["passage"]
    }
    for card in load_cards():
        found[card.id] = Passage(
            f"s:{card.id}#0", "s", card.id, card.topic, card.answer, card.question
        )
    return found


def check(row, passages):
    passage = passages[row.get("card") or row["passage"]]
    request = GroundRequest(
        "t", "What does it say?", (row["text"] + " [1]",), (Evidence(1, passage),),
        GeneratorKind.MODEL,
    )  # fmt: skip
    (sentence,) = SupportChecker().check(request).sentences
    return sentence


def test_the_table_is_large_enough():
    assert len(TABLE["true"]) >= 40
    assert len(TABLE["false"]) >= 40


@pytest.mark.parametrize("row", TABLE["false"], ids=lambda row: row["text"])
def test_false_sentences_do_not_pass(row, passages):
    support = check(row, passages).support
    assert support is not Support.SUPPORTED
    if row["kind"] in BLENDS:
        assert support is Support.UNSUPPORTED


@pytest.mark.parametrize(
    "row", [row for row in TABLE["true"] if row["kind"] == "copied"], ids=lambda row: row["text"]
)
def test_copied_sentences_are_supported(row, passages):
    assert check(row, passages).support is Support.SUPPORTED


def test_true_sentences_pass(passages):
    left_out = [
        row["text"] for row in TABLE["true"] if check(row, passages).support is Support.UNSUPPORTED
    ]
    assert len(left_out) <= 0.05 * len(TABLE["true"]), left_out
