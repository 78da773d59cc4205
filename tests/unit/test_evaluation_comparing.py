"""Putting questions to systems: stopped, gone on with, told of, and shown as a table."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.cli import adapter_figures
from medqa_tui.config.schema import Settings
from medqa_tui.domain import Evidence, GeneratorKind, ModelInfo, Passage, TokenCounts
from medqa_tui.errors import ExitCode
from medqa_tui.evaluation import comparing
from medqa_tui.evaluation.cases import Case
from medqa_tui.evaluation.comparing import Bench, Step, Stopped
from medqa_tui.evaluation.kept import KeptAnswers
from medqa_tui.evaluation.report import Report
from medqa_tui.evaluation.safety import safety_cases
from medqa_tui.evaluation.systems import Said, System
from medqa_tui.events import GenerationDone
from medqa_tui.grounding.support import SupportChecker

TEXT = "The flu causes fever and cough in most people."
FLU = (Evidence(1, Passage("c:flu#0", "c", "flu", "Flu", TEXT)),)
CASES = tuple(
    Case(str(n), f"What does the flu do on day {n}?", TEXT, FLU, n < 3, True, False)
    for n in range(4)
)


class Scripted:
    """Says one thing, counts how often, and may be ended in the middle."""

    def __init__(self, name: str, text: str, stop_at: int = 0) -> None:
        self.text, self.asked, self.stop_at = text, 0, stop_at
        self.system = System(name, f"key of {name}", self.answer, self)

    def answer(self, case: Case, cancel: threading.Event) -> Said:
        self.asked += 1
        if self.asked == self.stop_at:
            cancel.set()
        return Said(self.text, False, 0.5, -4.0, 8, -3.0)

    def stream(self, request, cancel):
        self.asked += 1
        info = ModelInfo("", generator=GeneratorKind.MODEL)
        kind = GeneratorKind.MODEL
        yield GenerationDone(request.turn, self.text, kind, info, TokenCounts(), "stop")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    embedder = HashingEmbedder()
    return Bench(tmp_path / "kept", 60, SupportChecker(embedder.encode), embedder, Settings())


def run(bench: Bench, *scripted: Scripted):
    steps: list[Step] = []
    answered = comparing.run(
        [each.system for each in scripted], CASES, bench, steps.append, threading.Event()
    )
    return answered, steps


def test_what_was_answered_before_a_stop_is_kept(bench: Bench) -> None:
    with pytest.raises(Stopped) as stopped:
        run(bench, Scripted("one", TEXT, stop_at=3))
    assert stopped.value.exit_code == ExitCode.INTERRUPTED
    assert "2 answers are kept" in stopped.value.detail
    again = Scripted("one", TEXT)
    answered, steps = run(bench, again)
    everything = len(CASES) + len(safety_cases())
    assert answered["one"].fresh == everything - 2
    assert (steps[0].done, steps[0].total, steps[0].left) == (0, everything, None)
    assert steps[-1].left is not None
    once_more, _ = run(bench, Scripted("one", "Something else."))
    assert once_more["one"].fresh == 0
    assert once_more["one"].said == answered["one"].said


def test_a_torn_line_costs_one_answer(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path, "key")
    with kept.writing():
        kept.keep("a", {"text": "x", "declined": False, "seconds": 1.0})
    file = next(tmp_path.glob("*.jsonl"))
    file.write_text(file.read_text() + '{"case": "b", "sa', encoding="utf-8")
    later = KeptAnswers(tmp_path, "key")
    with later.writing():
        later.keep("c", {"text": "y", "declined": False, "seconds": 1.0})
    found = KeptAnswers(tmp_path, "key")
    assert found.said("a") == Said("x", False, 1.0)
    assert found.said("b") is None
    assert found.said("c") == Said("y", False, 1.0)


def report(bench: Bench, *scripted: Scripted) -> Report:
    answered, _ = run(bench, *scripted)
    return Report("starter", CASES, 60, answered, comparing.measured(answered, CASES, bench))


def test_two_systems_share_a_table(bench: Bench, capsys) -> None:
    adapter_figures.show(
        report(bench, Scripted("mine", f"{TEXT} [1]"), Scripted("base", "Take it easy. [1]"))
    )
    table, notes = capsys.readouterr()
    assert table.splitlines()[0].split() == ["mine", "base", "mine", "less", "base", "(95%)"]
    f1 = next(line for line in table.splitlines() if line.startswith("token F1"))
    assert "1.000" in f1
    assert f1.endswith("better")
    assert "perplexity" in table
    assert "stroke-sleep" in table
    assert "3 questions whose evidence answers, 1 whose does not" in notes


def test_more_systems_get_a_table_of_differences(bench: Bench, capsys) -> None:
    adapter_figures.show(
        report(bench, Scripted("a", f"{TEXT} [1]"), Scripted("b", TEXT), Scripted("c", "Rest. [1]"))
    )
    table = capsys.readouterr().out
    assert "a, 95%" in table
    assert "less b" in table
    assert "less c" in table
