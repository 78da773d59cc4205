"""Runs the real program as a shell would, each test on a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., subprocess.CompletedProcess[str]]

# What the machine that runs the tests has set must not decide what they see.
_FOREIGN = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONWARNINGS")


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """Return the environment of a fresh user whose files lie in `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith("MEDQA_")
    }
    return {**kept, "MEDQA_HOME": str(home), "OMP_NUM_THREADS": "1", **extra}


def program_in(home: Path) -> Program:
    """Return a function that runs the program on `home` and waits for its end."""

    def run(
        *args: str, stdin: str | bytes | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "medqa_tui", *args],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            timeout=120,
            env=clean_environment(home, **env),
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which nothing was ever done."""
    return tmp_path / "home"


@pytest.fixture
def medqa(home: Path) -> Program:
    """The program on a machine that is not set up."""
    return program_in(home)


@pytest.fixture(scope="session")
def small_home_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one small home that every test copies."""
    from .small_home import make

    return make(tmp_path_factory.mktemp("small") / "home")


@pytest.fixture
def small_home(small_home_source: Path, tmp_path: Path) -> Path:
    """A home that answers from the starter cards, by words, without a model."""
    return Path(shutil.copytree(small_home_source, tmp_path / "small"))


@pytest.fixture
def small(small_home: Path) -> Program:
    """The program on `small_home`."""
    return program_in(small_home)
