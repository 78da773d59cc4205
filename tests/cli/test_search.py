"""`search` and `index` on the starter cards, by words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medqa_tui.retrieval.manifest import SCHEMA_VERSION

from .conftest import Program


def test_without_setup_the_code_is_3(medqa: Program) -> None:
    for args in (["search", "asthma"], ["index", "info"], ["index", "verify"], ["index", "build"]):
        done = medqa(*args)
        assert done.returncode == 3, args
        assert done.stdout == ""
        assert "medqa-tui setup" in done.stderr


def test_the_table_shows_rank_title_and_each_arm(small: Program) -> None:
    done = small("search", "--no-engine", "type 2 diabetes symptoms")
    assert done.returncode == 0, done.stderr
    header, first, *_ = done.stdout.splitlines()
    assert header.split() == [
        *("n", "passage", "bm25", "rank", "bm25", "dense", "rank", "dense", "fused", "rerank"),
        *("corpus", "matched", "terms"),
    ]
    assert first.split()[0] == "1"
    assert "diabetes" in first.lower()


def test_the_json_object_has_the_evidence_of_ask(small: Program) -> None:
    found = json.loads(small("search", "--no-engine", "--json", "-k", "3", "asthma").stdout)
    assert found["schema_version"] == 1
    assert found["query"] == "asthma"
    assert found["relevant"] is True
    assert [item["n"] for item in found["evidence"]] == [1, 2, 3]
    asked = json.loads(small("ask", "--no-engine", "--json", "What is asthma?").stdout)
    assert set(found["evidence"][0]) == {*asked["evidence"][0], "matched_terms"}
    assert found["evidence"][0]["matched_terms"] == ["asthma"]
    assert found["evidence"][0]["ranks"]["bm25"] == 1
    assert found["triage"]["level"] == "none"


def test_an_emergency_is_answered_with_its_advice_first(small: Program) -> None:
    done = small("search", "--no-engine", "crushing chest pain spreading to my left arm")
    assert done.returncode == 10, done.stderr
    advice, _, rest = done.stdout.partition("\n\n")
    assert "call" in advice.lower()
    assert "bm25 rank" in rest


def test_sources_dates_and_corpora_narrow_a_search(small: Program) -> None:
    def found(*options: str) -> list[dict[str, object]]:
        done = small("search", "--no-engine", "--json", "asthma", *options)
        return list(json.loads(done.stdout)["evidence"])

    assert found("--since", "1999", "--until", "2099-12", "--corpus", "starter")
    assert found("--until", "1999") == []
    assert found("--source", "no such page") == []
    done = small("search", "--no-engine", "--corpus", "nowhere", "asthma")
    assert done.returncode == 2
    assert "There is no such corpus: nowhere. There are: starter." in done.stderr
    done = small("search", "asthma", "--since", "last year")
    assert done.returncode == 2
    assert "2016-05-31" in done.stderr


def test_a_mistyped_corpus_is_a_usage_error_that_names_the_nearest(small: Program) -> None:
    wrong = ["--no-engine", "--corpus", "startr"]
    for done in (small("search", *wrong, "asthma"), small("ask", *wrong, "What is asthma?")):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "There is no such corpus: startr. Did you mean starter?\nTry: medqa-tui corpus list\n"
        )


def test_nothing_relevant_is_code_5(small: Program) -> None:
    done = small("search", "--no-engine", "--json", "Who won the 1998 World Cup?")
    assert done.returncode == 5
    assert json.loads(done.stdout)["relevant"] is False


def test_the_query_may_come_from_stdin(small: Program) -> None:
    done = small("search", "--no-engine", "--json", "-", stdin="asthma\n")
    assert json.loads(done.stdout)["query"] == "asthma"


@pytest.mark.parametrize("form", ["jsonl", "tsv"])
def test_a_run_names_each_document_once_and_ranks_from_1(
    small: Program, tmp_path: Path, form: str
) -> None:
    queries, run = tmp_path / f"queries.{form}", tmp_path / "run.txt"
    rows = [("q1", "asthma inhaler"), ("q2", "statins for cholesterol")]
    if form == "jsonl":
        # A line separator inside a text is part of it, not the end of the line.
        rows[0] = ("q1", "asthma\u2028inhaler")
    lines = [
        json.dumps({"_id": name, "body": text}, ensure_ascii=False)
        if form == "jsonl"
        else f"{name}\t{text}"
        for name, text in rows
    ]
    queries.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = small(
        *("search", "--no-engine", "--queries", str(queries), "--run-out", str(run)),
        *("--query-field", "body", "-k", "7"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = [line.split() for line in run.read_text(encoding="utf-8").splitlines()]
    assert {row[0] for row in written} == {"q1", "q2"}
    for name, _ in rows:
        mine = [row for row in written if row[0] == name]
        assert [row[3] for row in mine] == [str(rank) for rank in range(1, len(mine) + 1)]
        assert len({row[2] for row in mine}) == len(mine) <= 7
        scores = [float(row[4]) for row in mine]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == len(scores)
        assert all("#" not in row[2] and row[1] == "Q0" and len(row) == 6 for row in mine)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": "q1", "text": "a"}\n{"id": "q2"}\n', "line 2"),
        ('{"text": "no id"}\n', "line 1"),
        ("no tab here\n", "line 1"),
        ("\n", "empty"),
    ],
)
def test_a_bad_queries_file_is_a_usage_error_that_names_the_line(
    small: Program, tmp_path: Path, content: str, said: str
) -> None:
    queries = tmp_path / "queries"
    queries.write_text(content, encoding="utf-8")
    done = small(
        "search", "--no-engine", "--queries", str(queries), "--run-out", str(tmp_path / "run")
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "args",
    [["--queries", "q"], ["--run-out", "r"], ["--queries", "none", "--run-out", "r"], []],
    ids=["no run", "no queries", "no such file", "nothing"],
)
def test_half_a_run_is_a_usage_error(small: Program, args: list[str]) -> None:
    assert small("search", "--no-engine", *args).returncode == 2


def test_index_info_shows_the_manifest(small: Program) -> None:
    done = small("index", "info")
    assert done.returncode == 0
    assert "starter" in done.stdout
    record = json.loads(small("index", "info", "--json").stdout)
    assert record["schema_version"] == 1
    assert record["index_version"] == SCHEMA_VERSION
    assert record["passages"] > 60
    assert record["embedder"]["dimension"] == 8


def test_a_whole_index_is_left_alone(small: Program) -> None:
    assert small("index", "verify").returncode == 0
    done = small("index", "build")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "The index is up to date; --force builds it anyway.\n"


def test_a_damaged_index_is_named(small: Program, small_home: Path) -> None:
    victim = next((small_home / "data" / "indexes").rglob("ids.json"))
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    victim.write_bytes(damaged)
    done = small("index", "verify")
    assert done.returncode == 1
    assert "ids.json" in done.stdout
    assert "medqa-tui index build" in done.stderr
    record = json.loads(small("index", "verify", "--json").stdout)
    assert record["ok"] is False
    assert "ids.json" in record["reasons"][0]
    # Made anew in memory meanwhile, and said.
    searched = small("search", "--no-engine", "asthma")
    assert searched.returncode == 0
    assert "The word index is damaged" in searched.stderr
    assert "medqa-tui index build" in searched.stderr


def test_an_index_of_another_embedding_model_is_named(small: Program, small_home: Path) -> None:
    for record in (small_home / "data" / "models").glob("*/install.json"):
        row = json.loads(record.read_text(encoding="utf-8"))
        row["revision"] = "another"
        record.write_text(json.dumps(row), encoding="utf-8")
    done = small("index", "verify")
    assert done.returncode == 1
    assert "embedding model" in done.stdout


def test_a_missing_index_is_a_reason_and_not_a_crash(small: Program, small_home: Path) -> None:
    import shutil

    shutil.rmtree(small_home / "data" / "indexes")
    done = small("index", "verify")
    assert done.returncode == 1
    assert "no search index" in done.stdout
    assert small("index", "info").returncode == 1
