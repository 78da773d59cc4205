"""Measures, intervals and the paired test, against figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from medqa_tui.errors import UsageError
from medqa_tui.evaluation import retrieval, trec

pytest.importorskip("ir_measures")

QRELS = {"q1": {"a": 3, "b": 0, "c": 1}, "q2": {"d": 1}}
RUN = {"q1": {"b": 3.0, "a": 2.0, "x": 1.0}, "q2": {"d": 1.0}}


def test_the_measures_by_hand() -> None:
    found = retrieval.evaluate(QRELS, RUN, depth=10)
    values = {name: dict(zip(found.queries, of, strict=True)) for name, of in found.values.items()}
    ideal = 3 + 1 / math.log2(3)
    assert values["nDCG@10"]["q1"] == pytest.approx(3 / math.log2(3) / ideal)
    assert values["RR@10"] == {"q1": 0.5, "q2": 1.0}
    assert values["AP"]["q1"] == pytest.approx(0.5 / 2)
    assert values["R@10"] == {"q1": 0.5, "q2": 1.0}
    assert values["Judged@10"]["q1"] == pytest.approx(2 / 3)


def test_a_cutoff_cuts_the_reciprocal_rank_too() -> None:
    assert retrieval.evaluate(QRELS, RUN, depth=1).values["RR@1"] == (0.0, 1.0)


def test_a_query_that_the_run_leaves_out_counts_zero() -> None:
    found = retrieval.evaluate(QRELS, {"q2": {"d": 1.0}})
    assert found.values["nDCG@10"] == (0.0, 1.0)


def test_an_interval_holds_the_mean_and_a_constant_has_none() -> None:
    one = retrieval.bootstrap((0.0, 1.0) * 50)
    assert one.low < one.mean == 0.5 < one.high
    assert 0.38 < one.low < 0.44
    same = retrieval.bootstrap((0.25,) * 9)
    assert (same.low, same.mean, same.high) == (0.25, 0.25, 0.25)


def test_a_run_does_not_differ_from_itself_and_differs_from_a_worse_one() -> None:
    qrels = {f"q{n}": {"a": 1} for n in range(40)}
    good = retrieval.evaluate(qrels, {query: {"a": 1.0} for query in qrels})
    bad = retrieval.evaluate(qrels, {query: {"b": 2.0, "a": 1.0} for query in qrels})
    same = retrieval.compare(good, good)["RR@10"]
    assert (same.difference.mean, same.p) == (0.0, 1.0)
    worse = retrieval.compare(good, bad)["RR@10"]
    assert worse.difference.mean == pytest.approx(-0.5)
    assert worse.p < 0.001


def test_judgements_of_both_forms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("q1 0 a 3\nq1 0 b 0\n", encoding="utf-8")
    assert trec.read_qrels(path) == {"q1": {"a": 3, "b": 0}}
    path.write_text("query_id\tdoc_id\tlabel\tn\nq1\ta\t4\t2\n", encoding="utf-8")
    assert trec.read_qrels(path) == {"q1": {"a": 4}}


@pytest.mark.parametrize("text", ["", "q1 a\n", "q1 a good\n", "\xff"])
def test_judgements_that_are_none_are_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError):
        trec.read_qrels(path)


def test_a_line_that_is_not_of_a_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q1 Q0 a 1 0.5 x\nq1 Q0 b\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        trec.read_run(path)
    assert "line 2" in caught.value.detail
    with pytest.raises(UsageError):
        trec.read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "gains"),
    [("label", [1, 2, 4]), ("label-1", [0, 1, 3]), ("1=0, 2=5, 4=7", [0, 5, 7])],
)
def test_labels_become_gains(text: str, gains: list[int]) -> None:
    gain = trec.read_gains(text)
    assert [gain(label) for label in (1, 2, 4)] == gains


@pytest.mark.parametrize("text", ["labels", "1", "1=a", "label*2", ""])
def test_gains_that_are_none_are_said(text: str) -> None:
    with pytest.raises(UsageError):
        trec.read_gains(text)


def test_only_queries_with_something_relevant_count() -> None:
    qrels = {"q1": {"a": 1, "b": 2}, "q2": {"a": 1}}
    assert trec.with_gains(qrels, trec.read_gains("label-1")) == {"q1": {"a": 0, "b": 1}}
