"""Setup inside the app: plan, progress, cancel, failure and another try."""

from __future__ import annotations

import threading

from medqa_tui.config.schema import Settings
from medqa_tui.errors import DownloadError
from medqa_tui.setup.events import Phase, PhaseState, SetupEvent
from medqa_tui.tui.screens.quit import QuitScreen
from medqa_tui.tui.screens.setup import SetupScreen

from .scripted import Script, answered_all, ask, chat, focused, text_of, until

HALF = SetupEvent(Phase.DOWNLOAD, PhaseState.PROGRESS, "all-MiniLM-L6-v2", 45e6, 90e6, "bytes")
READY = SetupEvent(Phase.PREFLIGHT, PhaseState.DONE, "8 GB memory")


async def planned(pilot) -> None:
    """Wait for the plan."""
    await until(pilot, lambda: isinstance(pilot.app.screen, SetupScreen))
    await focused(pilot, "#start")


async def test_the_plan_names_sizes_and_licences_before_anything_is_fetched():
    script = Script(ready=False)
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        shown = text_of(pilot)
        assert "SmolLM2-135M-Instruct" in shown
        assert "all-MiniLM-L6-v2" in shown
        assert "Apache-2.0" in shown
        assert "To download" in shown
        assert "345 MB" in shown
        assert "history.enabled false" in shown
        assert "Not medical advice" in shown or "not medical advice" in shown


async def test_setup_runs_and_the_app_answers_afterwards():
    hold = threading.Event()
    script = Script(ready=False, setups=[[READY, HALF, hold]])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "45 MB of 90 MB" in text_of(pilot))
        shown = text_of(pilot)
        assert "✓ Check this machine" in shown
        assert "▶ Download" in shown
        assert "○ Activate" in shown
        hold.set()
        await until(pilot, lambda: pilot.app.screen is chat(pilot))
        await ask(pilot)
        await answered_all(pilot)
        assert "✓ 1 supported" in text_of(pilot)


async def test_cancel_returns_to_a_screen_that_can_go_on():
    script = Script(ready=False, setups=[[READY, HALF, threading.Event()], [READY]])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "45 MB of 90 MB" in text_of(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "Setup was stopped" in text_of(pilot))
        await focused(pilot, "#start")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))


async def test_a_failure_says_what_to_do_and_can_be_tried_again():
    error = DownloadError("The package index could not be reached.", "No route.", "Try a proxy")
    script = Script(ready=False, setups=[[READY, HALF, error], [READY]])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "Try again" in text_of(pilot))
        shown = text_of(pilot)
        assert "✗ The package index could not be reached." in shown
        assert "→ Try a proxy" in shown
        await focused(pilot, "#start")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))


async def test_an_unexpected_error_in_setup_is_told_without_a_traceback():
    script = Script(ready=False, setups=[[ValueError("boom")]])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "Setup broke off." in text_of(pilot))
        assert "boom" not in text_of(pilot)


async def test_quitting_in_the_middle_asks_and_stops_the_work():
    script = Script(ready=False, setups=[[HALF, threading.Event()]])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await planned(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "45 MB of 90 MB" in text_of(pilot))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, QuitScreen))
        await pilot.press("y")
        await until(pilot, lambda: pilot.app._exit)


async def test_a_profile_that_fits_better_is_named_with_its_reason_and_command():
    words = "This machine can run gpu-12gb (17 GB). To have it: medqa-tui setup --profile gpu-12gb"
    script = Script(ready=False, proposal=words)
    async with script.app().run_test(size=(120, 40)) as pilot:
        await planned(pilot)
        assert "--profile gpu-12gb" in text_of(pilot)


async def test_a_community_adapter_is_called_one_before_it_is_fetched():
    script = Script(ready=False, settings=Settings(profile="flashcards"))
    async with script.app().run_test(size=(120, 40)) as pilot:
        await planned(pilot)
        shown = text_of(pilot)
        assert "SmolLM2-1.7B-Instruct" in shown
        assert "nobody here has measured" in shown
