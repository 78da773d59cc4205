"""Shell completion as the shells run it: the printed script, in a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Program, clean_environment

BASH = """
source <(medqa-tui completion bash)
words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _medqa_tui_completion medqa-tui
    echo "${COMPREPLY[*]}"
}
words medqa-tui adap
words medqa-tui adapter use ""
words medqa-tui --profile fl
words medqa-tui config get retrieval.rerank_
words medqa-tui nothing ""
complete -p medqa-tui
"""
ZSH = """
compdef() { :; }
eval "$(medqa-tui completion zsh)"
_arguments() { print -r -- "$1"; }
words=(medqa-tui adapter use med); CURRENT=4
_medqa_tui_completion
"""
FISH = """
medqa-tui completion fish | source
complete -C "medqa-tui adapter use med"
"""


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the program, with two more adapter folders."""
    program = tmp_path / "bin" / "medqa-tui"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medqa_tui "$@"\n', "utf-8")
    program.chmod(0o755)
    for name in ("flu-lora", "$(touch harm)"):
        (home / "data" / "adapters" / name).mkdir(parents=True)
    values = clean_environment(home)
    return {**values, "PATH": f"{program.parent}:{values['PATH']}"}


def shell(name: str, text: str, environment: dict[str, str], folder: Path) -> list[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    script = folder / f"try.{name}"
    script.write_text(text, encoding="utf-8")
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    done = subprocess.run(
        [name, *plain, str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
        cwd=folder,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_completes_commands_options_and_names(
    environment: dict[str, str], tmp_path: Path
) -> None:
    lines = shell("bash", BASH, environment, tmp_path)
    assert lines[:5] == [
        "adapter",
        "flu-lora medqa-rerank medqa-starter none",
        "flashcards",
        "retrieval.rerank_depth",
        "",
    ]
    assert "medqa_tui" in lines[5]
    assert not (tmp_path / "harm").exists()


def test_zsh_completes_names(environment: dict[str, str], tmp_path: Path) -> None:
    assert "medqa-starter" in "".join(shell("zsh", ZSH, environment, tmp_path))


def test_fish_completes_names(environment: dict[str, str], tmp_path: Path) -> None:
    assert "medqa-starter" in shell("fish", FISH, environment, tmp_path)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(medqa: Program, name: str) -> None:
    done = medqa("completion", name)
    assert done.returncode == 0
    assert "_MEDQA_TUI_COMPLETE" in done.stdout
    assert done.stderr == ""


def test_another_shell_is_a_usage_error(medqa: Program) -> None:
    done = medqa("completion", "tcsh")
    assert done.returncode == 2
    assert "bash, zsh, fish" in done.stderr


def test_completing_loads_nothing_heavy_and_no_command(home: Path) -> None:
    code = (
        "import sys\n"
        "from medqa_tui.__main__ import main\n"
        "sys.argv = ['medqa-tui']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'textual', 'numpy', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)), 'medqa_tui.cli.ask' in sys.modules)\n"
    )
    asked = {
        "_MEDQA_TUI_COMPLETE": "complete_bash",
        "COMP_WORDS": "medqa-tui ",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=clean_environment(home, **asked),
    )
    *words, loaded = done.stdout.split("\n")[:-1]
    assert {"ask", "adapter", "completion"} <= set(words)
    assert loaded == "[] False"
