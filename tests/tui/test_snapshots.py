"""What the screens look like. Make them anew with pytest --snapshot-update, and look at each."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from medqa_tui.domain import AnswerStatus, Triage, TriageLevel
from medqa_tui.events import TriageFound
from medqa_tui.setup.events import Phase, PhaseState, SetupEvent
from medqa_tui.training.runs import RunReport, RunState
from medqa_tui.tui.app import MedQAApp
from medqa_tui.tui.screens.setup import SetupScreen

from .scripted import Gate, Script, answered_all, ask, done, focused, ordinary, text_of, until

# A new release draws the same widgets a little differently; look at them before changing this.
MADE_WITH = "8.2.8"
pytestmark = pytest.mark.skipif(
    version("textual") != MADE_WITH,
    reason=f"the snapshots were made with textual {MADE_WITH}, and this is {version('textual')}",
)
SIZES = [(80, 24), (120, 40), (160, 45)]
ADVICE = Triage(
    TriageLevel.EMERGENCY,
    ("heart-attack",),
    "This can be a heart attack. Call your local emergency number now and stay on the line.",
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "TEXTUAL_COLOR_SYSTEM", "TEXTUAL_THEME", "TEXTUAL_FILTERS"):
        monkeypatch.delenv(name, raising=False)


async def started(pilot) -> None:
    await until(pilot, lambda: "Ready" in text_of(pilot))
    await until(pilot, lambda: "Turn this off" in text_of(pilot))


async def answer(pilot) -> None:
    await ask(pilot)
    await answered_all(pilot)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_answer(snap_compare, size):
    assert snap_compare(Script().app(), terminal_size=size, run_before=answer)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_draft(snap_compare, size):
    gate = Gate()

    async def half(pilot) -> None:
        await ask(pilot)
        await until(pilot, gate.reached.is_set)
        await until(pilot, lambda: "✓ 1 supported" in text_of(pilot))
        await until(pilot, lambda: "tired. [1]" in text_of(pilot))

    script = Script([[*ordinary()[:6], gate]])
    assert snap_compare(script.app(), terminal_size=size, run_before=half)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_emergency(snap_compare, size):
    steps = [lambda q: TriageFound(q.turn, ADVICE), *ordinary()[:-1]]
    script = Script([[*steps, done(status=AnswerStatus.EMERGENCY, triage=ADVICE)]])
    assert snap_compare(script.app(), terminal_size=size, run_before=answer)


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
def test_setup(snap_compare, size):
    begun = SetupEvent(Phase.PREFLIGHT, PhaseState.DONE, "Enough room; answering on the CPU.")
    half = SetupEvent(Phase.DOWNLOAD, PhaseState.PROGRESS, "all-MiniLM-L6-v2", 45e6, 90e6, "bytes")
    script = Script(ready=False, setups=[[begun, half, ValueError("the end")]])

    async def fail(pilot) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, SetupScreen))
        await focused(pilot, "#start")
        await pilot.press("enter")
        await until(pilot, lambda: "Try again" in text_of(pilot))
        await focused(pilot, "#start")

    assert snap_compare(script.app(), terminal_size=size, run_before=fail)


def test_the_keys(snap_compare):
    async def opened(pilot) -> None:
        await started(pilot)
        await pilot.press("f1")

    assert snap_compare(Script().app(), terminal_size=(120, 40), run_before=opened)


def test_the_evidence_on_a_narrow_screen(snap_compare):
    async def toggled(pilot) -> None:
        await answer(pilot)
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "Evidence (3)" in text_of(pilot))

    assert snap_compare(Script().app(), terminal_size=(80, 24), run_before=toggled)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
def test_trainings(snap_compare, size):
    losses = tuple((step, 3.2 / (1 + step / 50)) for step in range(5, 121, 5))
    run = RunReport(
        "a",
        "my-adapter",
        "generator",
        RunState.RUNNING,
        "training",
        "laptop",
        4711,
        1000.0,
        1720.0,
        "/home/me/.local/share/medqa-tui/adapters/my-adapter",
        120,
        600,
        "tokens",
        96.4,
        2880.0,
        losses,
        tuple((step, 3.0 / (1 + step / 60)) for step in range(0, 121, 40)),
    )
    others = (
        replace(run, id="b", name="first", kind="reranker", state=RunState.ENDED, step=600),
        replace(run, id="c", name="second", state=RunState.KILLED, left=None),
    )
    services = replace(
        Script().services(), training_runs=lambda: (run, *others), now=lambda: 1725.0
    )

    async def opened(pilot) -> None:
        await started(pilot)
        await pilot.press("f4")
        await until(pilot, lambda: "step 120 of 600" in text_of(pilot))
        await until(pilot, lambda: "Stop this training" in text_of(pilot))
        await focused(pilot, "#runs")
        await pilot.pause()

    assert snap_compare(MedQAApp(services), terminal_size=size, run_before=opened)
