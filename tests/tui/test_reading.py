"""Reading: evidence, citations, layouts, foreign text, keys."""

from __future__ import annotations

import pytest
from textual.content import Content

from medqa_tui.config import Settings
from medqa_tui.domain import GeneratorKind, ModelInfo, Sentence, Support
from medqa_tui.safety.disclaimer import DISCLAIMER, DISCLAIMER_SHORT
from medqa_tui.tui.screens.chat import ChatScreen
from medqa_tui.tui.screens.help import HelpScreen
from medqa_tui.tui.screens.passage import PassageScreen
from medqa_tui.tui.screens.quit import QuitScreen
from medqa_tui.tui.widgets.answer import StreamedParagraph
from medqa_tui.tui.widgets.conversation import Conversation
from medqa_tui.tui.widgets.evidence import EvidenceCard
from medqa_tui.tui.widgets.question import QuestionInput

from .scripted import (
    EVIDENCE,
    QUESTION,
    Gate,
    Script,
    answered_all,
    ask,
    chat,
    done,
    found,
    ordinary,
    passage,
    text_of,
    token,
    until,
)

SIZES = [(80, 24), (120, 40), (200, 60)]


def banner(pilot) -> bool:
    """Whether the top of the screen carries the disclaimer."""
    top = " ".join(text_of(pilot).splitlines()[:2])
    return any(words in " ".join(top.split()) for words in (DISCLAIMER, DISCLAIMER_SHORT))


@pytest.mark.parametrize("size", SIZES)
async def test_the_disclaimer_is_there_in_every_state_and_size(size):
    middle = Gate()
    script = Script([[*ordinary()[:5], middle, *ordinary()[5:]]])
    async with script.app().run_test(size=size) as pilot:
        await pilot.pause()
        assert banner(pilot)
        await ask(pilot)
        await until(pilot, middle.reached.is_set)
        assert banner(pilot)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, QuitScreen))
        assert banner(pilot)
        await pilot.press("n")
        middle.opened.set()
        await answered_all(pilot)
        assert banner(pilot)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        assert banner(pilot)
        await pilot.press("escape", "escape", "1")
        await until(pilot, lambda: isinstance(pilot.app.focused, EvidenceCard))
        assert banner(pilot)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.screen, PassageScreen))
        assert banner(pilot)
        await pilot.press("escape", "ctrl+p")
        await until(pilot, lambda: "Copy the answer" in text_of(pilot))
        assert banner(pilot)


async def test_a_narrow_screen_shows_the_evidence_on_demand():
    async with Script().app().run_test(size=(80, 24)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert "Evidence (3)" not in text_of(pilot)
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "Evidence (3)" in text_of(pilot))
        assert "▸ Common symptoms" in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "Evidence (3)" not in text_of(pilot))
        assert "Sources" in text_of(pilot)


async def test_a_narrow_and_tall_screen_stacks_them():
    async with Script().app().run_test(size=(90, 50)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "Evidence (3)" in text_of(pilot))
        assert "feeling tired. [1] ✓" in text_of(pilot)


async def test_growing_and_shrinking_keeps_every_part():
    async with Script().app().run_test(size=(80, 24)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "Evidence (3)" in text_of(pilot))
        assert DISCLAIMER in text_of(pilot)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Evidence (3)" not in text_of(pilot))


async def test_a_digit_goes_to_the_passage_and_enter_folds_it():
    async with Script().app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await pilot.press("escape", "2")
        await until(pilot, lambda: isinstance(pilot.app.focused, EvidenceCard))
        card = pilot.app.focused
        assert isinstance(card, EvidenceCard)
        assert card.evidence.n == 2
        assert card.expanded
        await pilot.press("enter")
        assert not card.expanded
        await pilot.press("up")
        assert isinstance(pilot.app.focused, EvidenceCard)
        assert pilot.app.focused.evidence.n == 1
        await pilot.press("o", "right")
        await until(pilot, lambda: "Passage 2 of 3" in text_of(pilot))
        assert "Licence  CC BY 4.0" in text_of(pilot)
        assert "Revision 0123456789abcdef" in text_of(pilot)


async def test_clicking_a_citation_goes_to_the_passage_of_that_turn():
    other = (passage(1, "Asthma", "Asthma narrows the airways."),)
    script = Script([ordinary(), [found(other), done(evidence=other, sentences=())]])
    async with script.app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await ask(pilot, "What is asthma?")
        await answered_all(pilot)
        assert len(chat(pilot).evidence.cards) == 1
        lines = text_of(pilot).splitlines()
        row = next(i for i, line in enumerate(lines) if "[1][2]" in line)
        await pilot.click(offset=(lines[row].index("[1][2]") + 4, row))
        await until(pilot, lambda: len(chat(pilot).evidence.cards) == 3)
        await until(pilot, lambda: isinstance(pilot.app.focused, EvidenceCard))
        assert isinstance(pilot.app.focused, EvidenceCard)
        assert pilot.app.focused.evidence.n == 2


MARKUP = "Take [bold]care[/bold] [link=https://evil.example]here[/link] [see](https://evil.example)"


async def test_markup_in_foreign_text_shows_literally():
    evil = (passage(1, "[red]Title[/red]", f"{MARKUP} \x1b[31m<b>x</b>", "[on blue]Why?"),)
    sentence = Sentence(f"{MARKUP} <b>x</b>", (1,), Support.SUPPORTED)
    model = ModelInfo("starter", generator=GeneratorKind.EXTRACTIVE)
    steps = [
        found(evil),
        token(MARKUP),
        done(evidence=evil, sentences=(sentence,), model=model, notices=("[blink]Note",)),
    ]
    async with Script([steps]).app().run_test(size=(200, 50)) as pilot:
        await ask(pilot, "Is [bold]this[/bold] shown?")
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "❯ Is [bold]this[/bold] shown?" in shown
        assert f"{MARKUP} <b>x</b> [1] ✓" in shown
        assert "[red]Title[/red]" in shown
        assert "[on blue]Why?" in shown
        assert "◆ [blink]Note" in shown
        assert "\x1b" not in shown
        await pilot.press("escape", "1", "o")
        await until(pilot, lambda: isinstance(pilot.app.screen, PassageScreen))
        assert "[link=https://evil.example]here[/link]" in text_of(pilot)


async def test_the_model_may_format_but_not_link():
    text = "Drink **water** and see [this](https://evil.example) or <https://evil.example>."
    steps = [found(), done(sentences=(Sentence(text, (1,), Support.SUPPORTED),))]
    async with Script([steps]).app().run_test(size=(160, 45)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "Drink water and see [this](https://evil.example)" in shown
        assert "<https://evil.example>" in shown


async def test_text_after_an_unclosed_fence_is_not_lost():
    steps = [found(), token("Before.\n\n```\ncode\n"), token("after the fence"), ordinary()[5]]
    last = Sentence("Before.\n\n```\ncode\n```\n\nafter the fence", (), Support.SUPPORTED)
    async with Script([[*steps, done(sentences=(last,))]]).app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert "after the fence" in text_of(pilot)


async def test_enter_sends_and_ctrl_j_breaks_the_line_and_up_recalls():
    script = Script([ordinary(), ordinary()])
    async with script.app().run_test(size=(120, 40)) as pilot:
        await pilot.press("a", "ctrl+j", "b")
        field = chat(pilot).query_one(QuestionInput)
        assert field.text == "a\nb"
        await pilot.press("enter")
        await answered_all(pilot)
        assert script.asked[0].text == "a\nb"
        assert field.text == ""
        field.text = "unsent"
        await pilot.press("up")
        assert field.text == "a\nb"
        await pilot.press("down")
        assert field.text == "unsent"


async def test_nothing_is_sent_when_nothing_is_written():
    script = Script()
    async with script.app().run_test(size=(80, 24)) as pilot:
        await pilot.press("space", "enter")
        await pilot.pause()
        assert not script.asked


async def test_an_example_of_the_welcome_can_be_asked():
    script = Script()
    async with script.app().run_test(size=(80, 24)) as pilot:
        await pilot.press("tab", "tab")
        await pilot.app.workers.wait_for_complete()
        chat(pilot).query_one("OptionList").focus()
        await pilot.press("enter")
        await answered_all(pilot)
        assert script.asked[0].text == QUESTION


async def test_the_conversation_follows_the_text_until_the_user_scrolls():
    more = Gate()
    long = [token(f"Line {i} of a long answer.\n\n") for i in range(30)]
    steps = [found(), *long, more, *long, done()]
    async with Script([steps]).app().run_test(size=(80, 24)) as pilot:
        await ask(pilot)
        await until(pilot, more.reached.is_set)
        pane = chat(pilot).query_one(Conversation)
        await until(pilot, lambda: "Line 29 of" in text_of(pilot))
        pane.focus()
        await pilot.press("pageup")
        await until(pilot, lambda: "Line 29 of" not in text_of(pilot))
        here = pane.scroll_offset.y
        more.opened.set()
        await until(pilot, lambda: pane.scroll_offset.y == here)
        await answered_all(pilot)


async def test_history_is_announced_with_the_way_to_turn_it_off():
    async with Script().app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "medqa-tui config set history.enabled false" in text_of(pilot))
    off = Settings.model_validate({"history": {"enabled": False}})
    async with Script(settings=off).app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "History is off" in text_of(pilot))


async def test_the_help_screen_lists_the_keys():
    async with Script().app().run_test(size=(80, 24)) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        assert "Send the question" in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is chat(pilot))
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))


async def test_copying_brings_the_sources_and_the_disclaimer_along():
    async with Script().app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await pilot.press("f2")
        copied = pilot.app.clipboard
        assert "feeling tired. [1]" in copied
        assert EVIDENCE[0].passage.url in copied
        assert DISCLAIMER in copied


async def test_the_palette_offers_only_what_applies():
    async with Script().app().run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: pilot.app.settings)
        names = {c.title for c in pilot.app.get_system_commands(chat(pilot))}
        assert not names & {"Copy the answer", "New conversation", "Stop"}
        await ask(pilot)
        await answered_all(pilot)
        names = {c.title for c in pilot.app.get_system_commands(chat(pilot))}
        assert {"Copy the answer", "New conversation", "Hide the evidence"} <= names


async def test_no_color_leaves_words_and_no_colours(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with Script().app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert "✓ 1 supported" in text_of(pilot)
        assert pilot.app.no_color
        painted = set()
        for strip in pilot.app.screen._compositor.render_strips():
            for filter_ in pilot.app._filters:
                strip = strip.apply_filter(filter_, pilot.app.screen.background_colors[1])
            painted |= {s.style.color.triplet for s in strip if s.style and s.style.color}
        assert all(t.red == t.green == t.blue for t in painted if t)


@pytest.mark.parametrize("theme", ["medqa-light", "medqa-dark", "ansi-dark"])
async def test_the_theme_of_the_configuration_is_used(theme):
    settings = Settings.model_validate({"ui": {"theme": theme}})
    async with Script(settings=settings).app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: pilot.app.settings)
        await until(pilot, lambda: pilot.app.theme == theme)


@pytest.mark.parametrize("theme", ["medqa-light", "medqa-dark", "ansi-dark", "ansi-light"])
async def test_the_disclaimer_can_be_read_in_every_theme(theme):
    settings = Settings.model_validate({"ui": {"theme": theme}})
    async with Script(settings=settings).app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: pilot.app.theme == theme)
        await pilot.pause()
        first = pilot.app.screen._compositor.render_strips()[0]
        words = next(segment for segment in first if "Education" in segment.text)
        assert words.style.color != words.style.bgcolor


async def test_quitting_asks_only_while_something_runs():
    middle = Gate()
    async with Script([[found(), middle, *ordinary()[3:]]]).app().run_test() as pilot:
        await ask(pilot)
        await until(pilot, middle.reached.is_set)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, QuitScreen))
        await pilot.press("y")
        await until(pilot, lambda: pilot.app._exit)
    async with Script().app().run_test() as pilot:
        await pilot.press("ctrl+q")
        await until(pilot, lambda: pilot.app._exit)


async def test_an_idle_app_is_idle(monkeypatch):
    heard = []
    hear = ChatScreen.on_settings_loaded
    monkeypatch.setattr(
        ChatScreen,
        "on_settings_loaded",
        lambda self, message: (heard.append(1), hear(self, message)),
    )
    async with Script().app().run_test() as pilot:
        await until(pilot, lambda: "starter │ Ready" in text_of(pilot))
        for _ in range(5):
            await pilot.pause()
        assert heard == [1]


async def test_a_paragraph_that_grows_twice_before_a_layout_shows_its_last_line():
    async with Script([[found(), token("A draft."), gate := Gate()]]).app().run_test() as pilot:
        await ask(pilot)
        await until(pilot, gate.reached.is_set)
        await until(pilot, lambda: chat(pilot).query(StreamedParagraph))
        await pilot.pause()
        paragraph = chat(pilot).query_one(StreamedParagraph)
        paragraph.set_content(Content("Longer."))
        # A layout that something else asked for, before the paragraph's own turn has come.
        for widget in (*paragraph.ancestors,)[:-2]:
            widget._clear_arrangement_cache()
            widget._layout_updates += 1
        chat(pilot)._refresh_layout()
        paragraph.set_content(Content("word " * 40 + "end"))
        await until(pilot, lambda: "end" in text_of(pilot))
        assert paragraph.size.height > 1
