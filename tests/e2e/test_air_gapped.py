"""Everything goes to another machine in a folder, and answers there with the network blocked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_network_blocked import GUARD, no_network_prefix

from medqa_tui.models.active import load_active
from medqa_tui.models.shipped import shipped_folder
from medqa_tui.paths import Paths

pytestmark = pytest.mark.e2e

QUESTION = "What are the symptoms of type 2 diabetes?"


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


def run(home: Path, *words: str, prefix: tuple[str, ...] = (), **env: str) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "medqa_tui", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "MEDQA_HOME": str(home), **env},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_profile_and_its_adapter_travel_in_a_folder(starter_home: Path, tmp_path: Path) -> None:
    here, there, usb = tmp_path / "here", tmp_path / "there", tmp_path / "usb"
    shutil.copytree(starter_home, here, ignore=shutil.ignore_patterns("run", "logs"))
    shipped = shipped_folder("medqa-starter")
    assert shipped is not None
    plain = tmp_path / "plain"
    # Without the card it is an adapter as anybody else makes one.
    shutil.copytree(shipped, plain, ignore=shutil.ignore_patterns("card.json", "README.md"))
    run(here, "adapter", "download", str(plain), "--name", "carried", "--use")
    run(here, "model", "export", str(usb))

    # The passages and their index are the program's own, and building them is tested elsewhere.
    for part in ("corpora", "indexes"):
        shutil.copytree(here / "data" / part, there / "data" / part)
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    env = {"PYTHONPATH": str(guard), "GUARD_LOG": str(tmp_path / "attempts")}
    blocked = no_network_prefix()
    run(there, "setup", "--from", str(usb), "--yes", prefix=blocked, **env)
    said = run(there, "ask", "--no-engine", "--json", QUESTION, prefix=blocked, **env)

    answer = json.loads(said)
    assert answer["status"] == "answered"
    assert answer["model"]["adapter"] == "carried"
    assert load_active(paths_of(there)) == load_active(paths_of(here))
    for part in ("models", "adapters/carried"):
        assert files(there / "data" / part) == files(here / "data" / part)
    attempts = tmp_path / "attempts"
    assert not attempts.exists(), attempts.read_text(encoding="utf-8")
