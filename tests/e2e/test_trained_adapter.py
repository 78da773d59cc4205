"""From thirteen questions to an adapter that answers, on the real starter model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_main_job import DIABETES, program_in

pytestmark = pytest.mark.e2e


def test_an_adapter_is_trained_and_then_answers(starter_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(starter_home, home, ignore=shutil.ignore_patterns("run", "logs"))
    medqa = program_in(home)
    try:
        trained = medqa(
            *("train", "generator", "--preset", "starter", "--data", "core13"),
            *("--output", "my-adapter"),
            OMP_NUM_THREADS="1",  # two threads on cores that others use wait for each other
        )
        assert trained.returncode == 0, trained.stderr
        card = json.loads((home / "data/adapters/my-adapter/card.json").read_text("utf-8"))
        before, *_, after = card["validation_losses"]
        assert after[1] < before[1]
        # An engine that quotes has no model loaded, and follows all the same.
        record = json.loads(medqa("ask", "--json", "--no-save", DIABETES).stdout)
        assert record["model"]["generator"] == "extractive"
        used = medqa("adapter", "use", "my-adapter")
        assert used.returncode == 0, used.stderr
        record = json.loads(medqa("ask", "--json", "--no-save", DIABETES).stdout)
        assert record["status"] == "answered"
        # The starter profile quotes only as long as its own adapter is in use.
        said_by_model = record["model"]["adapter"] == "my-adapter"
        assert said_by_model or any("draft" in notice.lower() for notice in record["notices"])
        back = medqa("adapter", "use", "medqa-starter")
        assert "medqa-tui config set answer.generator model" in back.stderr
    finally:
        medqa("engine", "stop")
