"""Earlier questions in the app: listed, searched, opened with their evidence, changed, deleted."""

from __future__ import annotations

import sqlite3

import pytest
from textual.widgets import Input

from medqa_tui.config import Settings
from medqa_tui.domain import Answer, AnswerStatus, Question, Triage, TriageLevel
from medqa_tui.history.store import HistoryStore
from medqa_tui.tui.screens.confirm import ConfirmScreen
from medqa_tui.tui.screens.entry import EntryScreen
from medqa_tui.tui.screens.history import HistoryScreen
from medqa_tui.tui.screens.passage import PassageScreen
from medqa_tui.tui.screens.rename import RenameScreen
from medqa_tui.tui.widgets.entries import EntryList

from .scripted import QUESTION, Script, answered, ask, chat, focused, text_of, until
from .test_reading import banner

ADVICE = "Call your local emergency number now."


@pytest.fixture
def path(tmp_path):
    """A history of four questions; the second was an emergency, the last broke off."""
    path = tmp_path / "data" / "history.db"
    store = HistoryStore(path)
    recorder = store.recorder(store.new_session())

    def keep(turn, question, answer, triage=None):
        recorder.begin(Question(question, turn), triage or Triage())
        if isinstance(answer, str):
            recorder.partial(turn, answer)
        else:
            recorder.finish(turn, answer)

    keep("a", QUESTION, answered())
    emergency = Triage(TriageLevel.EMERGENCY, ("stroke",), ADVICE)
    said = Answer("My face droops", AnswerStatus.EMERGENCY, triage=emergency)
    keep("b", "My face \x1b[31mdroops", said, emergency)
    other = Answer(
        "How is asthma treated?", AnswerStatus.ANSWERED, "With *inhalers* [x](http://y)."
    )
    keep("c", "How is asthma treated?", other)
    keep("d", "What is gout?", "Gout is a kind of")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE turns SET writer = 'gone 1 1' WHERE turn = 'd'")
    connection.close()
    return path


async def opened(pilot) -> HistoryScreen:
    await pilot.press("f3")
    await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))
    await focused(pilot, "#entries")
    return pilot.app.screen


def names(pilot) -> list[str]:
    return [entry.name for entry in pilot.app.screen.query_one(EntryList)._entries]


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
async def test_an_answer_is_found_and_read_with_its_evidence(path, size):
    async with Script(history=path).app().run_test(size=size) as pilot:
        await opened(pilot)
        await until(pilot, lambda: len(names(pilot)) == 4)
        assert banner(pilot)
        shown = text_of(pilot)
        assert "(interrupted) What is gout?" in shown
        assert "(emergency) My face droops" in shown
        await pilot.press("slash", *"thirst")
        await until(pilot, lambda: names(pilot) == [QUESTION])
        assert "very thirsty" in text_of(pilot), "the place that was found"
        await pilot.press("enter")
        await focused(pilot, "#entries")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, EntryScreen))
        await until(pilot, lambda: "partly supported" in text_of(pilot))
        assert banner(pilot)
        screen = pilot.app.screen
        assert screen.query_one("#entry-facts")
        await pilot.press("2")
        await until(pilot, lambda: isinstance(pilot.app.screen, PassageScreen))
        assert banner(pilot)
        assert "High blood sugar and the eyes" in text_of(pilot)
        await pilot.press("escape", "9")
        assert pilot.app.screen is screen
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.screen, PassageScreen))
        assert "Passage 1 of 3" in text_of(pilot)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 4)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))


async def test_renamed_pinned_and_deleted_after_asking(path):
    async with Script(history=path).app().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await until(pilot, lambda: names(pilot)[:1] == ["What is gout?"])
        await pilot.press("down")
        assert screen.entries.chosen.question == "How is asthma treated?"
        await pilot.press("p")
        await until(pilot, lambda: "★" in text_of(pilot))
        assert names(pilot)[0] == "How is asthma treated?"
        assert screen.entries.chosen.question == "How is asthma treated?", "it stays chosen"
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RenameScreen))
        assert banner(pilot)
        await pilot.press(*"Inhalers", "enter")
        await until(pilot, lambda: pilot.app.screen is screen and names(pilot)[0] == "Inhalers")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RenameScreen))
        await pilot.press("x", "escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert names(pilot)[0] == "Inhalers"
        await pilot.press("p")
        await until(pilot, lambda: "★" not in text_of(pilot))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        assert banner(pilot)
        assert "Inhalers" in text_of(pilot)
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert len(names(pilot)) == 4
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: len(names(pilot)) == 3)
        assert screen.entries.chosen is not None
        assert b"inhalers" not in path.read_bytes()
    assert HistoryStore(path).count() == 3


async def test_what_is_not_whole_and_an_emergency_are_shown_as_they_are(path):
    async with Script(history=path).app().run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: len(names(pilot)) == 4)
        await pilot.press("enter")
        await until(pilot, lambda: "It broke off" in text_of(pilot))
        assert "Gout is a kind of" in text_of(pilot)
        await pilot.press("escape", "down", "down", "enter")
        await until(pilot, lambda: ADVICE in text_of(pilot))
        assert "GET HELP NOW" in text_of(pilot)
        assert "\x1b" not in text_of(pilot)
        await pilot.press("escape", "up", "enter")
        # Nothing in a kept text is a link.
        await until(pilot, lambda: "[x](http://y)" in text_of(pilot))


async def test_typing_finds_nothing_some_words_or_all(path):
    async with Script(history=path).app().run_test(size=(80, 24), notifications=True) as pilot:
        screen = await opened(pilot)
        await until(pilot, lambda: len(names(pilot)) == 4)
        words = screen.query_one("#words", Input)
        await pilot.press("slash", "r", "d")
        assert words.value == "rd", "a key of the list is a letter here"
        await until(pilot, lambda: "Nothing holds these words" in text_of(pilot))
        words.value = "gout xylophone"
        await until(pilot, lambda: "some of the words" in text_of(pilot))
        assert names(pilot) == ["What is gout?"]
        for odd in ('"', "*", '"asthma" AND (', "?!"):
            words.value = odd
            await until(pilot, lambda: names(pilot))
        words.value = ""
        await until(pilot, lambda: len(names(pilot)) == 4)


async def test_an_empty_history_one_that_is_off_and_one_that_is_broken(tmp_path):
    settings = Settings.model_validate({"history": {"enabled": False}})
    async with Script(history=tmp_path / "a" / "h.db").app().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "The history is empty" in text_of(pilot))
        assert not (tmp_path / "a").exists()
        await pilot.press("r", "p", "d", "enter", "f3")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))
    script = Script(history=tmp_path / "a" / "h.db", settings=settings)
    async with script.app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: pilot.app.settings is not None)
        await opened(pilot)
        await until(pilot, lambda: "History is off" in text_of(pilot))
    folder = tmp_path / "folder.db"
    folder.mkdir()
    app = Script(history=folder).app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await until(pilot, lambda: "The history cannot be" in text_of(pilot))


async def test_it_does_not_open_over_other_screens(path):
    async with Script(history=path).app().run_test(size=(80, 24)) as pilot:
        await ask(pilot)
        await pilot.press("f4", "f3")
        assert not isinstance(pilot.app.screen, HistoryScreen)
        await pilot.press("f4")
        await opened(pilot)
        titles = [each.title for each in pilot.app.get_system_commands(chat(pilot))]
        assert "History" in titles
