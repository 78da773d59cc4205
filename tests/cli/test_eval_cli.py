"""`eval retrieval` over runs, and over the search itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Program

pytest.importorskip("ir_measures")


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels.tsv"
    rows = ["query_id\tdoc_id\tlabel", *(f"q{n}\tgood\t4\nq{n}\tbad\t1" for n in range(30))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(path: Path, order: list[str]) -> str:
    lines = (
        f"q{n} Q0 {name} {rank} {1 / rank} x"
        for n in range(30)
        for rank, name in enumerate(order, 1)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_two_runs_are_measured_and_compared(medqa: Program, qrels: Path, tmp_path: Path) -> None:
    good = run(tmp_path / "good", ["good", "bad"])
    poor = run(tmp_path / "poor", ["bad", "good"])
    options = ["--qrels", str(qrels), "--gains", "label-1"]
    done = medqa("eval", "retrieval", *options, "--run", good, "--run", poor, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["schema_version"], found["queries"]) == (1, 30)
    first, second = found["runs"]
    assert first["measures"]["RR@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert first["less_the_first"] is None
    assert second["less_the_first"]["RR@10"]["difference"]["mean"] == -0.5
    assert second["less_the_first"]["RR@10"]["p"] < 0.001
    # With raw labels the bad answer counts as relevant, and the order costs less.
    done = medqa("eval", "retrieval", "--qrels", str(qrels), "--run", poor)
    assert "1.000 [1.000, 1.000]" in done.stdout
    assert "Means over 30 queries" in done.stderr


def test_the_search_itself_is_measured(small: Program, tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.tsv", tmp_path / "qrels"
    queries.write_text("q1\tWhat is asthma?\nq9\tnot judged\n", encoding="utf-8")
    found = json.loads(small("search", "--no-engine", "--json", "What is asthma?").stdout)
    best = found["evidence"][0]["id"].split(":")[1].split("#")[0]
    qrels.write_text(f"q1 0 {best} 1\n", encoding="utf-8")
    done = small(
        *("eval", "retrieval", "--no-engine", "--json", "--mode", "bm25"),
        *("--queries", str(queries), "--qrels", str(qrels)),
    )
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(done.stdout)["runs"]
    assert measured["name"] == "bm25"
    assert measured["measures"]["nDCG@10"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "There is nothing to measure."),
        (["--run", "nowhere"], "The file cannot be read."),
        (["--run", "nowhere", "--mode", "bm25"], "--run excludes"),
        (["--queries", "q", "--gains", "x"], "The gains are not understood."),
    ],
)
def test_what_is_wrong_is_said(medqa: Program, qrels: Path, options: list[str], words: str) -> None:
    done = medqa("eval", "retrieval", "--qrels", str(qrels), *options)
    assert done.returncode == 2
    assert words in done.stderr
