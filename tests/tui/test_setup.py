"""Setup inside the app: plan, progress, cancel, failure and another try."""

from __future__ import annotations

import threading

import pytest

from medqa_tui.config.schema import Settings
from medqa_tui.errors import DownloadError
from medqa_tui.setup.events import Phase, PhaseState, SetupEvent
from medqa_tui.setup.proposal import Better
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


BETTER = Better("gpu-12gb", "This machine can run gpu-12gb (17 GB): a GPU with 24 GB is there.")


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
async def test_a_profile_that_fits_better_is_named_and_can_be_chosen(size):
    script = Script(ready=False, proposal=BETTER, setups=[[READY]])
    async with script.app().run_test(size=size) as pilot:
        await planned(pilot)
        assert "This machine can run gpu-12gb" in " ".join(text_of(pilot).split())
        await pilot.press("tab")
        await focused(pilot, "#other")
        await pilot.press("enter")
        await until(pilot, lambda: "Qwen3-8B" in text_of(pilot))
        await focused(pilot, "#start")
        # And back, if that is too much to fetch.
        assert "Use starter instead" in text_of(pilot)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "SmolLM2-135M" in text_of(pilot))
        await focused(pilot, "#start")
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "Qwen3-8B" in text_of(pilot))
        await focused(pilot, "#start")
        assert script.installed == []
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))
        assert script.installed == ["gpu-12gb"]
        await until(pilot, lambda: "gpu-12gb" in text_of(pilot))
        await ask(pilot)
        await answered_all(pilot)


async def test_another_profile_is_set_up_from_the_conversation():
    hold = threading.Event()
    script = Script(empty=True, proposal=BETTER, setups=[[READY, HALF, hold]])
    app = script.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.settings is not None)
        commands = {each.title: each for each in app.get_system_commands(chat(pilot))}
        commands["Set up"].callback()
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await focused(pilot, "#other")
        shown = text_of(pilot)
        assert "Everything is here" in shown
        assert "First start" not in shown
        assert "Close" in shown
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is chat(pilot))
        assert script.installed == []
        commands["Set up"].callback()
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await focused(pilot, "#other")
        await pilot.press("enter")
        await focused(pilot, "#start")
        await pilot.press("enter")
        await until(pilot, lambda: "45 MB of 90 MB" in text_of(pilot))
        assert "instead" not in text_of(pilot)
        hold.set()
        await until(pilot, lambda: app.screen is chat(pilot))
        await until(pilot, lambda: app.settings is not None and app.settings.profile == "gpu-12gb")
        assert script.installed == ["gpu-12gb"]
        assert script.backend.closed, "the one before was let go of"


async def test_why_there_is_nothing_better_is_said_to_who_asks():
    script = Script(empty=True, proposal=Better("", "No GPU was found."))
    app = script.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.settings is not None)
        app.action_set_up()
        await until(pilot, lambda: "No GPU was found." in text_of(pilot))
        await focused(pilot, "#quit")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is chat(pilot))


async def test_a_community_adapter_is_called_one_before_it_is_fetched():
    script = Script(ready=False, settings=Settings(profile="flashcards"))
    async with script.app().run_test(size=(120, 40)) as pilot:
        await planned(pilot)
        shown = text_of(pilot)
        assert "SmolLM2-1.7B-Instruct" in shown
        assert "nobody here has measured" in shown
