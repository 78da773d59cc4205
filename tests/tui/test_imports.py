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
