"""What is promised to someone who installs the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[ ;]", item, maxsplit=1)[0].lower() for item in requirements}


def shell_commands() -> list[str]:
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", README, flags=re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_dependency_has_a_floor() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    for group in (PYPROJECT["project"]["dependencies"], *extras.values()):
        for requirement in group:
            assert ">=" in requirement, requirement


def test_one_http_client_only() -> None:
    names = requirement_names(PYPROJECT["project"]["dependencies"])
    assert not names & {"httpx", "requests", "aiohttp", "urllib3"}


def test_the_extras_are_there() -> None:
    assert {"test", "train", "analysis"} <= set(PYPROJECT["project"]["optional-dependencies"])


def test_the_readme_commands_are_one_line_each_and_ci_runs_the_second() -> None:
    run, test = [line for line in shell_commands() if line.startswith("python3 -m venv")][:2]
    assert 'medqa-tui ask "What are the symptoms of type 2 diabetes?"' in run
    assert "pytest" in test
    quiet = test.replace("pip install", "pip install --quiet")
    assert quiet in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "medqa_tui").rglob("*.py")), ids=lambda p: p.name)
def test_files_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
