"""`medqa-tui history`, as typed."""

import json
import sys
from pathlib import Path

import pexpect
import pytest

from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Evidence,
    Passage,
    Question,
    Sentence,
    Support,
    Triage,
)
from medqa_tui.history.store import HistoryStore
from medqa_tui.safety.triage import check

from .conftest import Program, clean_environment


@pytest.fixture
def kept(home: Path) -> HistoryStore:
    """A history of three questions: answered, an emergency, and one that was cut off."""
    store = HistoryStore(home / "data" / "history.db")
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("What is asthma?", "t1"), Triage())
    passage = Passage("s:a#0", "s", "a", "Asthma", "It is.", source="NHLBI", url="https://e.org/a")
    recorder.finish(
        "t1",
        Answer(
            "What is asthma?",
            AnswerStatus.ANSWERED,
            "It is a disease of the airways. [1]",
            (Sentence("It is a disease of the airways.", (1,), Support.SUPPORTED, 1.0),),
            (Evidence(1, passage),),
            disclaimer="For education only.",
        ),
    )
    triage = check("crushing chest pain")
    recorder.begin(Question("crushing chest pain", "t2"), triage)
    recorder.finish("t2", Answer("crushing chest pain", AnswerStatus.EMERGENCY, triage=triage))
    recorder.begin(Question("What is gout?", "t3"), Triage())
    recorder.partial("t3", "Gout is")
    store.database.run(lambda c: c.execute("UPDATE turns SET writer = '0 0' WHERE turn = 't3'"))
    store.close()
    return store


def test_an_empty_history_is_said(medqa: Program, home: Path) -> None:
    done = medqa("history", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "empty" in done.stderr
    assert medqa("history", "show").returncode == 1
    assert "empty" in medqa("history", "purge").stderr
    listed = json.loads(medqa("history", "list", "--json").stdout)
    assert (listed["schema_version"], listed["total"], listed["entries"]) == (1, 0, [])
    assert not (home / "data").exists()


@pytest.mark.usefixtures("kept")
def test_list(medqa: Program) -> None:
    lines = medqa("history", "list").stdout.splitlines()
    assert lines[0].split() == ["id", "asked", "status", "question"]
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert "interrupted" in lines[1]
    assert "emergency" in lines[2]
    short = medqa("history", "list", "-n", "1")
    assert len(short.stdout.splitlines()) == 2
    assert "2 more" in short.stderr
    rows = json.loads(medqa("history", "list", "--json").stdout)["entries"]
    assert [(row["id"], row["status"]) for row in rows] == [
        (3, "interrupted"),
        (2, "emergency"),
        (1, "answered"),
    ]


@pytest.mark.usefixtures("kept")
def test_show(medqa: Program) -> None:
    first = medqa("history", "show", "1")
    lines = first.stdout.splitlines()
    assert lines[:3] == ["What is asthma?", "", "It is a disease of the airways. [1]"]
    assert any(line.startswith("[1] Asthma") and "NHLBI" in line for line in lines)
    assert lines[-1].strip() == "https://e.org/a"
    assert "For education only." in first.stderr
    assert "emergency number" in medqa("history", "show", "2").stdout
    latest = medqa("history", "show")
    assert latest.stdout == "What is gout?\n\nGout is\n"
    assert "interrupted" in latest.stderr
    found = json.loads(medqa("history", "show", "1", "--json").stdout)
    assert found["answer"]["evidence"][0]["url"] == "https://e.org/a"
    assert json.loads(medqa("history", "show", "--json").stdout)["answer"] is None
    missing = medqa("history", "show", "99")
    assert missing.returncode == 1
    assert "medqa-tui history list" in missing.stderr


def test_a_number_beyond_every_entry_is_not_found(medqa: Program, kept: HistoryStore) -> None:
    beyond = str(10**20)
    for command in (("show", beyond), ("delete", "--yes", beyond)):
        done = medqa("history", *command)
        assert done.returncode == 1
        assert "There is no such question" in done.stderr
    assert medqa("history", "list", "-n", beyond).stdout == medqa("history", "list").stdout
    assert not kept.delete(10**20)


def test_delete_and_purge_need_a_yes(medqa: Program, kept: HistoryStore) -> None:
    for command in (("delete", "1"), ("purge",), ("purge", "--json")):
        refused = medqa("history", *command)
        assert refused.returncode == 2
        assert "--yes" in refused.stderr
    assert kept.count() == 3
    assert medqa("history", "delete", "1", "99", "--yes").returncode == 1
    assert kept.count() == 3
    assert json.loads(medqa("history", "delete", "1", "2", "-y", "--json").stdout)["deleted"] == [
        1,
        2,
    ]
    assert kept.count() == 1
    assert json.loads(medqa("history", "purge", "--yes", "--json").stdout)["deleted"] == 1
    assert kept.count() == 0
    assert b"gout" not in kept.database.path.read_bytes()


def test_on_a_terminal_it_asks(home: Path, kept: HistoryStore) -> None:
    env = clean_environment(home, TERM="xterm")
    for said, left in (("", 3), ("n", 3), ("y", 0)):
        child = pexpect.spawn(
            sys.executable, ["-m", "medqa_tui", "history", "purge"], env=env, timeout=60
        )
        child.expect_exact("[y/N]")
        child.sendline(said)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == (0 if left == 0 else 1)
        assert kept.count() == left


def test_a_damaged_history_is_told_of(medqa: Program, kept: HistoryStore) -> None:
    kept.close()
    kept.database.path.write_bytes(b"garbage" * 2000)
    first = medqa("history", "list")
    assert first.returncode == 0
    assert "was damaged" in first.stderr
    assert "kept in" in medqa("history", "list").stderr
    kept.recorder("s").begin(Question("New?", "t9"), Triage())
    assert "history purge deletes it" in medqa("history", "delete", "1", "--yes").stderr
    purged = json.loads(medqa("history", "purge", "--yes", "--json").stdout)
    assert purged["damaged_files"] == 1
    assert list(kept.database.path.parent.glob("*damaged*")) == []


@pytest.mark.usefixtures("kept")
def test_search(medqa: Program, home: Path) -> None:
    done = medqa("history", "search", "airway")
    assert done.returncode == 0
    head, snippet = done.stdout.splitlines()
    assert head.startswith("1  ")
    assert head.endswith("  What is asthma?")
    assert snippet == "    It is a disease of the airways. [1]"
    found = json.loads(medqa("history", "search", "disease", "airways", "--json").stdout)
    assert (found["total"], found["all_words"]) == (1, True)
    entry = found["entries"][0]
    words = [entry["snippet"][start:end] for start, end in entry["marks"]]
    assert words == ["disease", "airways"]
    some = medqa("history", "search", "gout medicine")
    assert "these hold some of the words" in some.stderr
    assert "What is gout?" in some.stdout
    assert medqa("history", "search", '"of the airways"').returncode == 0
    assert medqa("history", "search", "disease of").returncode == 0
    nothing = medqa("history", "search", "zebra")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert medqa("history", "search", "?!").returncode == 2
    assert medqa("history", "search", "gout", "--since", "soon").returncode == 2
    assert medqa("history", "search", "gout", "--since", "1h").returncode == 0


@pytest.mark.usefixtures("kept")
def test_what_was_found_is_marked_where_there_is_colour(home: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "medqa_tui", "history", "search", "airways"],
        env=clean_environment(home, TERM="xterm"),
        timeout=60,
        encoding="utf-8",
    )
    child.expect_exact("It is a disease of the \x1b[1;33mairways\x1b[0m. [1]")
    child.expect(pexpect.EOF)


@pytest.mark.usefixtures("kept")
def test_rename_and_pin(medqa: Program) -> None:
    assert "1: My asthma (answered)" in medqa("history", "rename", "1", "My", "asthma").stderr
    done = json.loads(medqa("history", "pin", "1", "--json").stdout)
    assert [(e["id"], e["title"], e["pinned"]) for e in done["entries"]] == [(1, "My asthma", True)]
    lines = medqa("history", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "3", "2"]
    assert "answered, pinned" in lines[1]
    assert lines[1].endswith("My asthma")
    assert medqa("history", "show").stdout.startswith("What is gout?")
    assert "(answered)" in medqa("history", "unpin", "1").stderr
    assert "What is asthma?" in medqa("history", "rename", "1").stderr
    for command in (("rename", "99", "x"), ("pin", "1", "99"), ("unpin", "99")):
        assert medqa("history", *command).returncode == 1


@pytest.mark.usefixtures("kept")
def test_since(medqa: Program) -> None:
    assert len(medqa("history", "list", "--since", "today").stdout.splitlines()) == 4
    later = medqa("history", "list", "--since", "2999-01-01")
    assert later.stdout == ""
    assert "since then" in later.stderr
    wrong = medqa("history", "list", "--since", "soon")
    assert wrong.returncode == 2
    assert "--since 7d" in wrong.stderr


def test_export_and_import(medqa: Program, kept: HistoryStore, tmp_path: Path) -> None:
    plain = medqa("history", "export", "1").stdout
    assert "## What is asthma?" in plain
    assert "For education only." in plain
    assert "gout" not in plain
    assert medqa("history", "export", "--format", "html").stdout.startswith("<!DOCTYPE html>")
    file = tmp_path / "kept.json"
    done = json.loads(medqa("history", "export", "--output", str(file), "--json").stdout)
    assert (done["format"], done["entries"]) == ("json", 3)
    assert file.stat().st_mode & 0o777 == 0o600
    exported = json.loads(file.read_text())
    assert exported["format"] == "medqa-tui history"
    again = medqa("history", "export", "-o", str(file))
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert medqa("history", "export", "-o", str(file), "--force").returncode == 0
    assert "3 were here already" in medqa("history", "import", str(file)).stderr
    kept.purge()
    done = medqa("history", "import", "-", "--json", stdin=file.read_bytes())
    assert json.loads(done.stdout)["added"] == 3
    assert kept.search("airways").total == 1
    page = tmp_path / "kept.html"
    assert medqa("history", "export", "-o", str(page)).returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("kept")
def test_export_and_import_say_what_is_wrong(medqa: Program, tmp_path: Path) -> None:
    for command, code, said in (
        (("export", "99"), 1, "no such question"),
        (("export", "--since", "2999-01-01"), 1, "nothing to export"),
        (("export", "--format", "pdf"), 2, "md, json or html"),
        (("export", "-o", str(tmp_path)), 2, "is a folder"),
        (("export", "-o", str(tmp_path / "no" / "x.md")), 1, "could not be written"),
        (("import", str(tmp_path / "none.json")), 2, "could not be read"),
        (("import", __file__), 2, "no JSON"),
    ):
        done = medqa("history", *command)
        assert (done.returncode, done.stdout) == (code, ""), command
        assert said in done.stderr, command
        assert "Traceback" not in done.stderr
