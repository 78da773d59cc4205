"""`ask`: where the question comes from, what goes to which stream, and every exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Program, program_in

DIABETES = "What are the symptoms of type 2 diabetes?"
CHEST_PAIN = "crushing chest pain spreading to my left arm"
CRISIS = "I want to kill myself"
FIELDS = {
    "schema_version",
    "question",
    "status",
    "answer",
    "sentences",
    "evidence",
    "confidence",
    "triage",
    "model",
    "timings_ms",
    "tokens",
    "disclaimer",
}


# -- not set up ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (["--no-setup"], {}),
        (["--offline"], {}),
        ([], {"MEDQA_OFFLINE": "true"}),
        ([], {"MEDQA_SETUP__AUTO": "false"}),
    ],
    ids=["--no-setup", "--offline", "offline setting", "setup.auto setting"],
)
def test_without_setup_and_leave_to_do_it_the_code_is_3(
    medqa: Program, args: list[str], env: dict[str, str]
) -> None:
    done = medqa("ask", *args, DIABETES, **env)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "medqa-tui setup" in done.stderr


def test_an_emergency_on_a_bare_machine_gets_its_advice_and_no_setup(
    medqa: Program, home: Path
) -> None:
    done = medqa("ask", "-", stdin=CHEST_PAIN + "\n")
    assert done.returncode == 10
    assert "emergency number" in done.stdout.splitlines()[0]
    assert "Not medical advice" in done.stderr
    assert not (home / "data" / "models").exists()
    assert not (home / "cache").exists()


def test_an_emergency_on_a_bare_machine_as_json(medqa: Program) -> None:
    done = medqa("ask", "--json", CHEST_PAIN)
    assert done.returncode == 10
    record = json.loads(done.stdout)
    assert record["status"] == "emergency"
    assert record["triage"]["level"] == "emergency"
    assert "emergency number" in record["triage"]["advice"]
    assert record["sentences"] == []
    assert record["disclaimer"]


@pytest.mark.parametrize("extra", [[], ["--json"]], ids=["text", "json"])
def test_the_advice_survives_a_broken_configuration(
    medqa: Program, home: Path, extra: list[str]
) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text("this is no TOML", encoding="utf-8")
    done = medqa("ask", *extra, CHEST_PAIN)
    assert done.returncode == 10
    assert "emergency number" in done.stdout
    assert "config.toml" in done.stderr
    if extra:
        assert json.loads(done.stdout)["error"]["title"]


def test_the_advice_is_out_before_the_assistant_is_imported(home: Path) -> None:
    # The import of the assistant is made to fail: whatever stands on stdout came before it.
    import subprocess
    import sys

    from .conftest import clean_environment

    program = (
        f"import sys; sys.argv = ['medqa-tui', 'ask', {CHEST_PAIN!r}]\n"
        "sys.modules['medqa_tui.assistant'] = None\n"
        "sys.modules['medqa_tui.config'] = None\n"
        "from medqa_tui.__main__ import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(home),
    )
    assert "emergency number" in done.stdout
    assert done.returncode == 10


# -- where the question comes from -----------------------------------------------------------


@pytest.mark.parametrize("stdin", ["", "  \n", "\x1b[2J\n"], ids=["nothing", "blank", "controls"])
def test_an_empty_question_is_a_usage_error(medqa: Program, stdin: str) -> None:
    done = medqa("ask", "-", stdin=stdin)
    assert done.returncode == 2
    assert 'Try: medqa-tui ask "' in done.stderr


def test_a_question_that_is_too_long_is_a_usage_error(medqa: Program) -> None:
    for done in (medqa("ask", "x" * 8001), medqa("ask", "-", stdin="x" * 100_000)):
        assert done.returncode == 2
        assert "8,000" in done.stderr


def test_neither_question_nor_terminal_is_a_usage_error(medqa: Program) -> None:
    assert medqa("ask").returncode == 2
    assert medqa("ask", "--json").returncode == 2


@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        ([CHEST_PAIN], None),
        (CHEST_PAIN.split(), None),
        (["-"], CHEST_PAIN.encode()),
        ([], CHEST_PAIN.encode()),
        (["-"], b"\xef\xbb\xbf" + CHEST_PAIN.encode()),
        (["-"], CHEST_PAIN.encode("utf-16")),
        (["-"], CHEST_PAIN.encode() + b" \xff\xfe caf\xe9"),
    ],
    ids=["argument", "words", "-", "pipe", "byte-order mark", "UTF-16", "not UTF-8"],
)
def test_every_way_to_ask(medqa: Program, args: list[str], stdin: bytes | None) -> None:
    done = medqa("ask", *args, stdin=stdin)
    assert done.returncode == 10
    assert "emergency number" in done.stdout


# -- answering -------------------------------------------------------------------------------


def test_data_goes_to_stdout_and_the_rest_to_stderr(small: Program) -> None:
    done = small("ask", "--no-engine", DIABETES)
    assert done.returncode == 0, done.stderr
    answer, _, sources = done.stdout.partition("\n\nSources\n")
    assert "thirst" in answer.lower() or "urin" in answer.lower()
    assert "[1]" in answer
    assert "\n" not in answer
    assert sources.startswith("[")
    assert "http" in sources
    for word in ("Confidence:", "Answered by:", "Not medical advice"):
        assert word not in done.stdout
        assert word in done.stderr


def test_every_cited_number_is_among_the_sources(small: Program) -> None:
    record = json.loads(small("ask", "--no-engine", "--json", DIABETES).stdout)
    cited = {n for sentence in record["sentences"] for n in sentence["citations"]}
    text = small("ask", "--no-engine", DIABETES).stdout
    listed = text.partition("\nSources\n")[2]
    assert cited
    assert {int(line[1 : line.index("]")]) for line in listed.splitlines() if line[:1] == "["} == (
        cited
    )


def test_the_json_object_is_the_contract(small: Program) -> None:
    done = small("ask", "--no-engine", "--json", DIABETES)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert set(record) >= FIELDS
    assert record["status"] == "answered"
    assert record["question"] == DIABETES
    assert record["model"]["generator"] == "extractive"
    assert "Not medical advice" not in done.stderr


def test_k_bounds_the_evidence(small: Program) -> None:
    record = json.loads(small("ask", "--no-engine", "--json", "-k", "2", DIABETES).stdout)
    assert len(record["evidence"]) == 2


def test_nothing_relevant_is_an_abstention(small: Program) -> None:
    done = small("ask", "--no-engine", "Who won the 1998 World Cup?")
    assert done.returncode == 5
    assert "I don't know" in done.stdout
    assert "Not medical advice" in done.stderr


def test_an_emergency_leads_with_its_advice_and_answers_after_it(small: Program) -> None:
    done = small("ask", "--no-engine", CHEST_PAIN)
    assert done.returncode == 10
    assert "emergency number" in done.stdout.splitlines()[0]
    assert done.stdout.count("emergency number now") == 1


def test_a_crisis_gets_no_answer_beyond_its_advice(small: Program) -> None:
    done = small("ask", "--no-engine", "--json", CRISIS)
    assert done.returncode == 10
    record = json.loads(done.stdout)
    assert record["triage"]["level"] == "crisis"
    assert record["sentences"] == []


@pytest.mark.parametrize(
    ("args", "env"),
    [(["--plain"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})],
    ids=["--plain", "NO_COLOR", "dumb"],
)
def test_no_escape_bytes_without_a_terminal(
    small: Program, args: list[str], env: dict[str, str]
) -> None:
    done = small("ask", "--no-engine", *args, DIABETES, **env)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_control_characters_of_a_question_do_not_come_back(small: Program) -> None:
    done = small("ask", "--no-engine", "What is \x1b]0;owned\x07anemia\u202e?")
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout + done.stderr
    record = json.loads(small("ask", "--no-engine", "--json", "What is \x9b31manemia?").stdout)
    assert record["question"] == "What is anemia?"


def test_a_stream_that_cannot_hold_a_letter_gets_a_substitute(small: Program) -> None:
    done = small("ask", "--no-engine", "Who won the 1998 World Cup?", PYTHONIOENCODING="ascii")
    assert done.returncode == 5
    assert "I don't know" in done.stdout


def test_quiet_leaves_the_answer_and_the_disclaimer(small: Program) -> None:
    done = small("ask", "--no-engine", "-q", DIABETES)
    assert done.returncode == 0
    assert "Sources" in done.stdout
    assert done.stderr.strip().startswith("For education only.")
    assert len(done.stderr.strip().splitlines()) == 1


# -- history ---------------------------------------------------------------------------------


def test_the_first_question_says_that_history_is_kept(small: Program, small_home: Path) -> None:
    first = small("ask", "--no-engine", DIABETES)
    assert str(small_home / "data" / "history.db") in first.stderr
    assert "medqa-tui config set history.enabled false" in first.stderr
    second = small("ask", "--no-engine", "What is anemia?")
    assert "history.db" not in second.stderr


@pytest.mark.parametrize(
    ("args", "env"),
    [(["--no-save"], {}), ([], {"MEDQA_HISTORY__ENABLED": "false"})],
    ids=["--no-save", "history.enabled"],
)
def test_nothing_is_kept_when_told_so(
    small: Program, small_home: Path, args: list[str], env: dict[str, str]
) -> None:
    done = small("ask", "--no-engine", *args, DIABETES, **env)
    assert done.returncode == 0
    assert not (small_home / "data" / "history.db").exists()


def test_continue_takes_the_latest_conversation_along(small: Program) -> None:
    small("ask", "--no-engine", DIABETES)
    done = small("ask", "--no-engine", "-c", "--json", "How is it treated?")
    record = json.loads(done.stdout)
    assert "diabetes" in record["query"].lower()


def test_continue_without_a_conversation_begins_one(small: Program) -> None:
    done = small("ask", "--no-engine", "-c", DIABETES)
    assert done.returncode == 0
    assert "no earlier conversation" in done.stderr


def test_an_emergency_on_a_bare_machine_is_kept_too(medqa: Program, home: Path) -> None:
    from medqa_tui.history.store import HistoryStore

    assert program_in(home)("ask", CHEST_PAIN).returncode == 10
    kept = HistoryStore(home / "data" / "history.db").list(5)
    assert [entry.question for entry in kept] == [CHEST_PAIN]


# -- closed book -------------------------------------------------------------------------------


def test_without_evidence_there_is_nothing_to_quote(small: Program) -> None:
    done = small("ask", "--no-evidence", DIABETES)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nothing to quote" in done.stderr
    assert "medqa-tui config set answer.generator auto" in done.stderr


def test_a_temperature_that_nothing_samples_by_is_refused(small: Program) -> None:
    done = small("ask", DIABETES, MEDQA_ANSWER__TEMPERATURE="0.7", MEDQA_ANSWER__BEAMS="4")
    assert done.returncode == 2
    assert "without sampling" in done.stderr


def test_without_its_model_a_closed_book_question_gets_quotes_and_the_reason(
    small: Program,
) -> None:
    done = small("ask", "--no-evidence", "--json", DIABETES, MEDQA_ANSWER__GENERATOR="auto")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["closed_book"] is False
    assert answer["model"]["generator"] == "extractive"
    assert answer["sentences"][0]["support"] == "supported"
    assert any("from memory cannot be used" in notice for notice in answer["notices"])
