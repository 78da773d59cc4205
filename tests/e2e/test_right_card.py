"""The search finds the right starter card for questions that were written without seeing them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_right_card_is_among_the_first_five(starter_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    script = ROOT / "scripts" / "bench" / "questions.py"
    done = subprocess.run(
        [sys.executable, str(script), "--phrasings", "without", "--output", str(out)],
        env={**os.environ, "MEDQA_HOME": str(starter_home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["result"]["hybrid, questions and answers only"]
    assert found["recall_5"][0] >= 0.9, found["not in the first 5"]
