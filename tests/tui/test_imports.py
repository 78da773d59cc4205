"""The first frame waits for nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys

LATER = {"pydantic", "httpx2", "sqlite3", "numpy", "torch", "transformers", "huggingface_hub"}
LATER |= {"sentence_transformers", "peft", "bitsandbytes", "hnswlib", "sklearn", "bm25s", "typer"}
PROGRAM = """
import json, sys
from medqa_tui.tui.app import MedQAApp
MedQAApp()
print(json.dumps(sorted(sys.modules)))
"""


def test_the_app_is_made_without_the_core():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert not LATER & set(json.loads(done.stdout))


HEAVY = {"torch", "transformers", "sentence_transformers", "peft", "bitsandbytes", "hnswlib"}
SCREENS = """
import json, sys, threading
from pathlib import Path
from medqa_tui.training.runs import RunRecorder, read_runs
from medqa_tui.tui.screens import history, training
folder = Path(sys.argv[1])
with RunRecorder(folder, "own", "generator", folder, threading.Event()):
    assert read_runs(folder)[0].state.is_live
print(json.dumps(sorted(sys.modules)))
"""


def test_trainings_and_the_history_are_shown_without_the_models(tmp_path):
    command = [sys.executable, "-c", SCREENS, tmp_path]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not (HEAVY | {"numpy"}) & set(json.loads(done.stdout))
