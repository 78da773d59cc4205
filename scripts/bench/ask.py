"""Cold and warm `medqa-tui ask`, split into its steps, and the memory of the engine.

Before each cold question the engine is stopped, so that it is started and every model is loaded.
Warm questions find the engine ready. The folder in MEDQA_HOME must be set up; its engine is
stopped, and nothing is kept in its history.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from _common import (
    PeakMemory,
    Spread,
    home,
    machine,
    median,
    megabytes,
    note,
    parser,
    program,
    report,
    resident,
    shown,
    table,
)

from medqa_tui.engine.connect import status
from medqa_tui.paths import get_paths

QUESTIONS = (
    "What are the symptoms of type 2 diabetes?",
    "How is high blood pressure treated?",
    "What causes migraine headaches?",
    "How can I prevent kidney stones?",
    "What triggers an asthma attack?",
    "How is iron deficiency anemia diagnosed?",
    "What helps with heartburn?",
    "Who should get a flu vaccine?",
    "What are the warning signs of a stroke?",
    "How long does bronchitis last?",
)
_STEPS = ("engine_start", "retrieve", "first_token", "generate", "total")
_FINE = (0, 5, 10)
_PATIENCE_S = 300.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One question: the program's own times and the wall time of its process, in seconds."""

    question: str
    steps: dict[str, float | None]
    wall: float
    status: str
    generator: str
    completion: int

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def ask(question: str) -> Run:
    """Ask in a process of its own, as a user does."""
    began = time.perf_counter()
    done = subprocess.run(
        [*program(), "ask", "--json", "--no-save", "--no-setup", question],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - began
    if done.returncode not in _FINE:
        raise SystemExit(f"ask failed with exit code {done.returncode}:\n{done.stderr}")
    answer = json.loads(done.stdout)
    steps = {
        name: None if answer["timings_ms"][name] is None else answer["timings_ms"][name] / 1000
        for name in _STEPS
    }
    return Run(
        question,
        steps,
        wall,
        answer["status"],
        answer["model"]["generator"],
        answer["tokens"]["completion"],
    )


def stop() -> None:
    subprocess.run([*program(), "engine", "stop"], check=True, capture_output=True)


def start_engine() -> tuple[int, dict[str, float]]:
    """Start the engine and follow its loading.

    Returns:
        Its process id, and the resident bytes when the search was ready and when all was.
    """
    subprocess.run([*program(), "engine", "start"], check=True, capture_output=True)
    paths, deadline = get_paths(), time.monotonic() + _PATIENCE_S
    memory: dict[str, float] = {}
    while time.monotonic() < deadline:
        now = status(paths)
        if now is None:
            raise SystemExit("The engine went away; see: medqa-tui engine logs")
        if "embedder" in now.loaded:
            memory.setdefault("search ready", resident(now.pid))
        if now.state == "ready":
            memory["all ready"] = resident(now.pid)
            return now.pid, memory
        time.sleep(_POLL_S)
    raise SystemExit("The engine did not become ready in five minutes.")


def times(kinds: dict[str, list[Run]]) -> str:
    """Return the table of steps, one row a kind of run."""
    rows = []
    for kind, runs in kinds.items():
        cells = []
        for step in _STEPS:
            values = [run.steps[step] for run in runs]
            cells.append(shown(median([value for value in values if value is not None])))
        walls = Spread(tuple(run.wall for run in runs))
        tokens = median([run.completion for run in runs])
        rows.append([f"{kind}, {len(runs)} runs", *cells, walls.text(), shown(tokens, 0)])
    names = [step.replace("_", " ") for step in _STEPS]
    return table(["s, median", *names, "process (least to most)", "tokens out"], rows)


def endings(kinds: dict[str, list[Run]]) -> str:
    """Say how the questions ended, and who wrote."""
    count = Counter(f"{r.status} by {r.generator}" for r in itertools.chain(*kinds.values()))
    return "Answers: " + ", ".join(f"{n} {what}" for what, n in count.most_common()) + "."


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--cold", type=int, default=5, help="questions with the engine stopped")
    options.add_argument("--warm", type=int, default=20, help="questions with the engine ready")
    chosen = options.parse_args()
    home()
    on = machine("torch", "transformers", "bitsandbytes")
    questions = itertools.cycle(QUESTIONS)
    kinds: dict[str, list[Run]] = {"cold": [], "warm": []}
    try:
        for turn in range(chosen.cold):
            stop()
            kinds["cold"].append(ask(next(questions)))
            note(f"cold {turn + 1}: {kinds['cold'][-1].wall:.1f} s")
        stop()
        pid, memory = start_engine()
        # The first answer of an engine pays for things that no later one does.
        note(f"first: {ask(next(questions)).wall:.1f} s")
        with PeakMemory(pid) as watch:
            for turn in range(chosen.warm):
                kinds["warm"].append(ask(next(questions)))
                note(f"warm {turn + 1}: {kinds['warm'][-1].wall:.1f} s")
        memory |= {"peak while answering": watch.peak, "after the answers": resident(pid)}
    finally:
        stop()
    kinds = {kind: runs for kind, runs in kinds.items() if runs}
    sizes = table(["engine, resident", "memory"], [[k, megabytes(v)] for k, v in memory.items()])
    result = {kind: [run.record() for run in runs] for kind, runs in kinds.items()}
    report(
        "ask, cold and warm",
        on,
        [times(kinds), endings(kinds), sizes],
        {**result, "memory": memory},
        chosen.output,
    )


if __name__ == "__main__":
    main()
