"""A corpus of one's own: added, answered from with its terms, removed without a trace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

WORD = "zorbalex"
ROW = {
    "id": "z1",
    "question": "What is zorbalex fever?",
    "answer": "Zorbalex fever is an infection of the liver. It causes a green tongue and hiccups.",
    "url": "https://example.org/zorbalex",
}


@pytest.fixture
def home(starter_home: Path, tmp_path: Path) -> Path:
    """A home of its own around the models that are installed."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    for each in (starter_home / "data").iterdir():
        copy = home / "data" / each.name
        if each.name == "models":
            copy.symlink_to(each)
        elif each.is_dir():
            shutil.copytree(each, copy)
        elif each.suffix == ".json":
            shutil.copy(each, copy)
    return home


def test_a_corpus_of_ones_own(home: Path, tmp_path: Path) -> None:
    def medqa(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "medqa_tui", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "MEDQA_HOME": str(home)},
        )

    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    added = medqa("corpus", "add", "notes", "--from", str(path), "--license", "CC0", "--json")
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["indexed"] is True
    try:
        asked = medqa("ask", "--json", "--no-save", ROW["question"])
        record = json.loads(asked.stdout)
        best = record["evidence"][0]
        assert (best["id"], best["corpus"], best["licence"]) == ("notes:z1#0", "notes", "CC0")
        assert (best["url"], best["source"]) == (ROW["url"], "notes.jsonl")
        assert record["status"] == "answered"
        assert "liver" in record["answer"] or "tongue" in record["answer"]
        # A further setup finds nothing to store or to index.
        again = json.loads(medqa("setup", "--dry-run", "--json").stdout.splitlines()[-1])
        assert not {"ingest", "index"} & set(again["phases"])
    finally:
        medqa("engine", "stop")
    removed = medqa("corpus", "remove", "notes", "--yes")
    assert removed.returncode == 0, removed.stderr
    kept = [
        file
        for folder in ("corpora", "indexes")
        for file in (home / "data" / folder).rglob("*")
        if file.is_file() and WORD.encode() in file.read_bytes().lower()
    ]
    assert kept == []
