"""`train list`: what is trained here, as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading

from medqa_tui.training.progress import TrainEvent
from medqa_tui.training.runs import RunRecorder


def run(home, *more):
    environment = {**os.environ, "MEDQA_HOME": str(home)}
    command = [sys.executable, "-m", "medqa_tui", "train", "list", *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_trainings_are_listed(tmp_path):
    done = run(tmp_path)
    assert done.stdout == ""
    assert "medqa-tui train generator" in done.stderr
    folder = tmp_path / "state" / "training"
    with RunRecorder(folder, "own", "generator", tmp_path / "own", threading.Event()) as record:
        record(TrainEvent("training", 5, 20, math.nan, 100.0, 60.0, "tokens"))
        record(TrainEvent("training", 10, 20, 1.25, 100.0, 6000.0, "tokens"))
        record(TrainEvent("training", 10, 20, validation=1.5))
        done = run(tmp_path)
        head, row = done.stdout.splitlines()
        assert head.split() == ["name", "kind", "state", "step", "loss", "curve", "left"]
        assert row.split()[:7] == ["own", "generator", "running", "10", "of", "20", "1.250"]
        assert row.endswith("1 h 39 min") or row.endswith("1 h 40 min")
        record = json.loads(run(tmp_path, "--json").stdout)
    assert record["schema_version"] == 1
    (only,) = record["runs"]
    assert (only["name"], only["state"], only["pid"]) == ("own", "running", os.getpid())
    assert only["losses"] == [[5, None], [10, 1.25]]
    assert only["validation"] == [[10, 1.5]]
    assert "ended" in run(tmp_path).stdout
    file = folder / "own.json"
    file.write_text(file.read_text().replace('"ended"', '"running"'))
    done = run(tmp_path)
    assert done.stdout.splitlines()[1].split()[:3] == ["own", "generator", "killed"]
    assert "own: to go on with it, the same command with --resume." in done.stderr
