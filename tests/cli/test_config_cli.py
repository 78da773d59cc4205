"""`medqa-tui config`, as typed."""

import json
from pathlib import Path

from .conftest import Program


def test_show_says_where_each_value_comes_from(medqa: Program, home: Path) -> None:
    assert medqa("config", "set", "retrieval.k", "7").returncode == 0
    done = medqa("--profile", "starter", "config", "show", MEDQA_ANSWER__SEED="3")
    assert done.returncode == 0
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["setting"][:2] == ["value", "from"]
    assert lines["retrieval.k"][:3] == ["7", "config", "file"]
    assert lines["answer.seed"][:2] == ["3", "MEDQA_ANSWER__SEED"]
    assert lines["profile"][:2] == ["starter", "flag"]
    assert lines["offline"][:2] == ["false", "default"]
    found = json.loads(medqa("config", "show", "--json").stdout)
    assert found["schema_version"] == 1
    k = next(row for row in found["settings"] if row["key"] == "retrieval.k")
    assert (k["value"], k["origin"]) == (7, "file")
    assert k["detail"] == str(home / "config" / "config.toml")
    assert k["description"]


def test_get_set_unset_path(medqa: Program, home: Path) -> None:
    path = home / "config" / "config.toml"
    assert medqa("config", "path").stdout == f"{path}\n"
    assert json.loads(medqa("config", "path", "--json").stdout)["exists"] is False
    assert medqa("config", "get", "history.enabled").stdout == "true\n"
    done = medqa("config", "set", "history.enabled", "false")
    assert (done.returncode, done.stdout) == (0, "")
    assert str(path) in done.stderr
    assert medqa("config", "get", "history.enabled").stdout == "false\n"
    assert json.loads(medqa("config", "get", "history.enabled", "--json").stdout)["value"] is False
    removed = json.loads(medqa("config", "unset", "history.enabled", "--json").stdout)
    assert removed["removed"] is True
    assert medqa("config", "get", "history.enabled").stdout == "true\n"
    assert "is not set" in medqa("config", "unset", "history.enabled").stderr


def test_mistakes_are_usage_errors_with_the_next_thing_to_type(medqa: Program, home: Path) -> None:
    done = medqa("config", "get", "retreival.k")
    assert done.returncode == 2
    assert "Did you mean retrieval.k?" in done.stderr
    assert medqa("config", "set", "retrieval.k", "0").returncode == 2
    assert medqa("config", "set", "engine.keep_alive", "soon").returncode == 2
    assert "starter" in medqa("config", "set", "profile", "startr").stderr
    assert not (home / "config").exists()
    error = json.loads(medqa("config", "get", "nothing", "--json").stdout)["error"]
    assert error["exit_code"] == 2


def test_a_broken_file_stops_every_command_in_words(medqa: Program, home: Path) -> None:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[retrieval]\nk = 'many'\n")
    done = medqa("config", "show")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path}, line 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert medqa("config", "set", "retrieval.k", "5").returncode == 0
    assert medqa("config", "show").returncode == 0


def test_set_says_when_a_variable_wins(medqa: Program) -> None:
    done = medqa("config", "set", "retrieval.k", "5", MEDQA_RETRIEVAL__K="9")
    assert done.returncode == 0
    assert "MEDQA_RETRIEVAL__K is set and wins" in done.stderr


def test_schema(medqa: Program) -> None:
    found = json.loads(medqa("config", "schema", "--json").stdout)
    assert found["$defs"]["RetrievalSettings"]["properties"]["k"]["maximum"] == 50
    lines = {line.split()[0]: line for line in medqa("config", "schema").stdout.splitlines()}
    assert "a whole number from 1 to 50" in lines["retrieval.k"]
    assert lines["retrieval.k"].endswith("MEDQA_RETRIEVAL__K")
    shown = json.loads(medqa("config", "show", "--json").stdout)["settings"]
    k = next(row for row in shown if row["key"] == "retrieval.k")
    assert (k["default"], k["variable"]) == (5, "MEDQA_RETRIEVAL__K")
    assert k["allowed"] == "a whole number from 1 to 50"


def test_a_wrong_variable_stops_every_command_with_the_nearest_one(medqa: Program) -> None:
    done = medqa("config", "show", MEDQA_RETREIVAL__K="3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "MEDQA_RETREIVAL__K" in done.stderr
    assert "Did you mean MEDQA_RETRIEVAL__K?" in done.stderr
    assert "--profile" in medqa("config", "show", "--profil", "starter").stderr


def test_edit(medqa: Program, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("[retrieval]\nk = 7\n")
    done = medqa("config", "edit", EDITOR=f"cp '{text}'", VISUAL="")
    assert done.returncode == 0
    assert "Written to" in done.stderr
    assert medqa("config", "get", "retrieval.k").stdout == "7\n"
    assert "Nothing was changed." in medqa("config", "edit", EDITOR="true", VISUAL="").stderr
    text.write_text("[retrieval]\nk = 700\n")
    wrong = medqa("config", "edit", EDITOR=f"cp '{text}'", VISUAL="")
    assert wrong.returncode == 2
    assert "from 1 to 50. Nothing was changed." in wrong.stderr
    assert [file.name for file in (home / "config").iterdir()] == ["config.toml"]
