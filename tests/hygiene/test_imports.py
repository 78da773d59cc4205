"""What the light rooms load, seen from the outside: `sys.modules` of a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "peft",
    "bitsandbytes",
    "hnswlib",
    "sklearn",
    "matplotlib",
    "optuna",
)
LIGHT = (
    "medqa_tui",
    "medqa_tui.api",
    "medqa_tui.assistant",
    "medqa_tui.backend",
    "medqa_tui.cli.main",
    "medqa_tui.config",
    "medqa_tui.contract",
    "medqa_tui.doctor.checks",
    "medqa_tui.doctor.deep",
    "medqa_tui.doctor.repair",
    "medqa_tui.doctor.sharing",
    "medqa_tui.domain",
    "medqa_tui.engine.client",
    "medqa_tui.engine.lifecycle",
    "medqa_tui.errors",
    "medqa_tui.events",
    "medqa_tui.history.store",
    "medqa_tui.history.transfer",
    "medqa_tui.models.active",
    "medqa_tui.models.catalog",
    "medqa_tui.models.records",
    "medqa_tui.offline",
    "medqa_tui.paths",
    "medqa_tui.safety.triage",
    "medqa_tui.setup.runner",
    "medqa_tui.tui.app",
)
COMMANDS = (
    (),
    ("ask",),
    ("search",),
    ("setup",),
    ("index",),
    ("engine",),
    ("history",),
    ("config",),
    ("doctor",),
    ("train",),
    ("train", "sweep"),
)


def loaded_after(code: str) -> set[str]:
    """Return the top-level names in `sys.modules` once `code` has run in a fresh interpreter."""
    program = (
        f"import json, sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        "names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print('\\n' + json.dumps(names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", LIGHT)
def test_light_module_loads_nothing_heavy(module: str) -> None:
    assert not loaded_after(f"import {module}") & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "top level")
def test_help_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    argv = ["medqa-tui", *command, "--help"]
    loaded = loaded_after(f"sys.argv = {argv!r}; from medqa_tui.__main__ import main; main()")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "textual"}


def test_top_level_help_loads_no_settings_and_no_client() -> None:
    argv = ["medqa-tui", "--help"]
    loaded = loaded_after(f"sys.argv = {argv!r}; from medqa_tui.__main__ import main; main()")
    assert not loaded & {"pydantic", "httpx2", "numpy", "starlette", "uvicorn"}


def test_the_engine_client_does_not_load_the_server() -> None:
    assert not loaded_after("import medqa_tui.engine.client") & {"starlette", "uvicorn"}
