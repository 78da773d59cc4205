"""The README's first command, word for word, on a copy of the tree and an empty home."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = (".venv*", ".git", "__pycache__", "*.egg-info", ".mypy_cache", ".ruff_cache", "build")


def first_command() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^python3 -m venv .*medqa-tui ask .*$", readme, flags=re.M)
    assert found, "the README has no one-line command that installs and asks"
    return found.group(0)


def test_one_command_installs_and_answers(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEDQA_", "VIRTUAL_ENV", "PYTHON"))
    }
    # The interpreter beside the one that runs this test, not the test's own environment.
    python = str(Path(sys.base_prefix) / "bin")
    environment |= {"MEDQA_HOME": str(home), "PATH": f"{python}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            ["bash", "-c", first_command()],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert "[1]" in done.stdout
        assert "Not medical advice" in done.stderr
        assert (home / "data" / "active.json").exists()
    finally:
        stop = [str(tree / ".venv" / "bin" / "medqa-tui"), "engine", "stop"]
        if Path(stop[0]).exists():
            subprocess.run(stop, env=environment, check=False, capture_output=True)
