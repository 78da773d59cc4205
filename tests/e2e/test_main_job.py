"""The main job on the real starter profile: ask, and what stands around an answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

DIABETES = "What are the symptoms of type 2 diabetes?"
WORLD_CUP = "Who won the 1998 World Cup?"
CHEST_PAIN = "crushing chest pain spreading to my left arm"

Program = Callable[..., subprocess.CompletedProcess[str]]


def program_in(home: Path) -> Program:
    """Return a function that runs the program on `home` as a shell would."""

    def run(
        *args: str, stdin: str | None = None, prefix: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "medqa_tui", *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "MEDQA_HOME": str(home), **env},
        )

    return run


@pytest.fixture(scope="module")
def medqa(starter_home: Path) -> Iterator[Program]:
    run = program_in(starter_home)
    yield run
    run("engine", "stop")


@pytest.mark.parametrize("generator", ["extractive", "model"])
def test_a_medical_question_is_answered_from_cited_evidence(medqa: Program, generator: str) -> None:
    # As it comes, the starter profile quotes.
    env = {"MEDQA_ANSWER__GENERATOR": "model"} if generator == "model" else {}
    done = medqa("ask", "--json", DIABETES, **env)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["schema_version"] == 1
    assert record["status"] == "answered"
    assert "thirst" in record["answer"].lower() or "urin" in record["answer"].lower()
    numbers = {item["n"] for item in record["evidence"]}
    for sentence in record["sentences"]:
        assert sentence["citations"]
        assert set(sentence["citations"]) <= numbers
        assert sentence["support"] in {"supported", "partial"}
    assert all(item["url"].startswith("http") for item in record["evidence"])
    assert record["disclaimer"]
    assert record["model"]["profile"] == "starter"
    assert record["model"]["generator"] == generator
    if generator == "model":
        assert record["model"]["quantization"] == "nf4"
        assert record["model"]["adapter"] == "medqa-starter"


def test_the_shell_form_keeps_stdout_for_data(medqa: Program) -> None:
    done = medqa("ask", "--plain", DIABETES)
    assert done.returncode == 0, done.stderr
    assert "[1]" in done.stdout
    assert "http" in done.stdout
    assert "Not medical advice" not in done.stdout
    assert "Not medical advice" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_question_outside_medicine_is_declined(medqa: Program) -> None:
    done = medqa("ask", "--json", WORLD_CUP)
    assert done.returncode == 5, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] in {"abstained", "out_of_scope"}
    assert record["sentences"] == []
    assert record["tokens"]["completion"] == 0


def test_an_emergency_leads_with_advice(medqa: Program) -> None:
    done = medqa("ask", "-", stdin=CHEST_PAIN + "\n")
    assert done.returncode == 10, done.stderr
    assert "emergency number" in done.stdout.splitlines()[0] + done.stdout.splitlines()[1]


def test_a_crisis_gets_advice_and_no_model(medqa: Program) -> None:
    done = medqa("ask", "--json", "I want to kill myself")
    assert done.returncode == 10
    record = json.loads(done.stdout)
    assert record["triage"]["level"] == "crisis"
    assert record["triage"]["advice"]
    assert record["sentences"] == []
    assert record["tokens"]["completion"] == 0


def test_two_questions_share_one_engine(medqa: Program) -> None:
    medqa("ask", DIABETES)
    first = json.loads(medqa("engine", "status", "--json").stdout)
    medqa("ask", "What are the warning signs of a stroke?")
    second = json.loads(medqa("engine", "status", "--json").stdout)
    assert first["pid"] == second["pid"]


def test_the_same_question_gives_the_same_answer_without_the_engine(medqa: Program) -> None:
    env = {"MEDQA_ANSWER__GENERATOR": "model"}
    shared = json.loads(medqa("ask", "--json", "--no-save", DIABETES, **env).stdout)
    alone = json.loads(medqa("ask", "--json", "--no-save", "--no-engine", DIABETES, **env).stdout)
    assert alone["answer"] == shared["answer"]
    assert [e["id"] for e in alone["evidence"]] == [e["id"] for e in shared["evidence"]]


def test_a_follow_up_searches_with_the_conversation(medqa: Program) -> None:
    medqa("ask", DIABETES)
    done = medqa("ask", "-c", "--json", "How is it treated?")
    record = json.loads(done.stdout)
    assert "diabetes" in record["query"].lower()
    assert any("diabetes" in item["title"].lower() for item in record["evidence"])


def test_history_keeps_questions_unless_told_not_to(medqa: Program) -> None:
    medqa("ask", "What is anemia?")
    medqa("ask", "--no-save", "What are statins for?")
    kept = medqa("history", "list", "--json").stdout
    assert "What is anemia?" in kept
    assert "What are statins for?" not in kept


def test_search_shows_each_arm_and_writes_a_trec_run(medqa: Program, tmp_path: Path) -> None:
    found = json.loads(medqa("search", "--json", "high blood pressure").stdout)
    assert "pressure" in (found["evidence"][0]["title"] + found["evidence"][0]["text"]).lower()
    assert found["evidence"][0]["scores"]["rrf"] is not None
    queries, run = tmp_path / "queries.jsonl", tmp_path / "run.txt"
    queries.write_text('{"id": "q1", "text": "asthma inhaler"}\n', encoding="utf-8")
    done = medqa("search", "--queries", str(queries), "--run-out", str(run))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in run.read_text(encoding="utf-8").splitlines()]
    assert rows
    assert all(row[0] == "q1" and row[1] == "Q0" and len(row) == 6 for row in rows)
    assert len({row[2] for row in rows}) == len(rows)


def test_a_damaged_index_is_named_and_rebuilt(starter_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(starter_home, home, ignore=shutil.ignore_patterns("run", "logs"))
    medqa = program_in(home)
    assert medqa("index", "verify").returncode == 0
    victim = next((home / "data" / "indexes").rglob("vectors*"))
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    victim.write_bytes(damaged)
    broken = medqa("index", "verify")
    assert broken.returncode == 1
    assert victim.name in broken.stdout + broken.stderr
    rebuilt = medqa("index", "build")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert medqa("index", "verify").returncode == 0
    medqa("engine", "stop")


def test_doctor_finds_nothing_broken(medqa: Program) -> None:
    done = medqa("doctor", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["checks"]
    assert not [check for check in report["checks"] if check["status"] == "fail"]


def test_a_second_setup_does_nothing_and_says_so(medqa: Program) -> None:
    done = medqa("setup", "--yes")
    assert done.returncode == 0
    assert "already" in (done.stdout + done.stderr).lower()
