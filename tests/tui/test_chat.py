"""A question in the app, from typing it to reading its sources."""

from __future__ import annotations

import pytest

from medqa_tui.domain import (
    AnswerStatus,
    GeneratorKind,
    ModelInfo,
    Timings,
    TokenCounts,
    Triage,
    TriageLevel,
)
from medqa_tui.errors import EngineError, NotSetUpError
from medqa_tui.events import DraftDropped, Notice, StatusChanged, TriageFound
from medqa_tui.tui.screens.chat import ChatScreen
from medqa_tui.tui.screens.setup import SetupScreen
from medqa_tui.tui.widgets.emergency import EmergencyPanel
from medqa_tui.tui.widgets.question import QuestionInput

from .scripted import (
    QUESTION,
    SENTENCES,
    Gate,
    Script,
    answered_all,
    ask,
    chat,
    done,
    found,
    ordinary,
    status,
    text_of,
    token,
    until,
)

WIDE = (120, 40)
ADVICE = Triage(TriageLevel.EMERGENCY, ("heart-attack",), "Call your local emergency number now.")


async def test_the_evidence_is_there_before_the_first_token():
    before_tokens = Gate()
    script = Script([[status("Searching"), found(), before_tokens, *ordinary()[3:]]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, before_tokens.reached.is_set)
        await until(pilot, lambda: len(chat(pilot).evidence.cards) == 3)
        shown = text_of(pilot)
        assert "Evidence (3)" in shown
        assert "https://medlineplus.gov/example-1.html" in shown
        assert "BM25 13.2 #1" in shown
        assert "Draft" not in shown
        before_tokens.opened.set()
        await answered_all(pilot)


async def test_provisional_evidence_says_so_until_the_final_evidence_comes():
    provisional, final = Gate(), Gate()
    script = Script([[found(provisional=True), provisional, found(), final, *ordinary()[3:]]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "provisional" in text_of(pilot))
        provisional.opened.set()
        await until(pilot, final.reached.is_set)
        await until(pilot, lambda: "Provisional" not in text_of(pilot))
        assert len(chat(pilot).evidence.cards) == 3
        final.opened.set()
        await answered_all(pilot)


@pytest.mark.parametrize(
    ("tokens", "shown"), [(TokenCounts(480, 64), True), (TokenCounts(), False)]
)
async def test_only_what_a_model_wrote_has_a_speed(tokens, shown):
    timings = Timings(generate=2000.0)
    script = Script([[*ordinary()[:-1], done(tokens=tokens, timings=timings)]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert ("32.0 tokens/s" in text_of(pilot)) is shown
        assert ("tokens/s" in text_of(pilot)) is shown


async def test_the_draft_is_marked_and_the_checked_answer_replaces_it():
    written = Gate()
    steps = ordinary()
    script = Script([[*steps[:-1], written, steps[-1]]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, written.reached.is_set)
        await until(pilot, lambda: "≈ 1 partly supported" in text_of(pilot))
        shown = text_of(pilot)
        assert "Draft, being checked · ✓ 1 supported" in shown
        assert "Writing" in shown
        written.opened.set()
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "Draft" not in shown
        assert "feeling tired. [1] ✓" in shown
        assert "(partly supported)" in shown
        assert "Confidence: high (0.78, estimated)" in shown
        assert "Written by SmolLM2-135M-Instruct with medqa-starter (nf4, cpu)" in shown
        assert "[2] High blood sugar and the eyes · MedlinePlus" in shown


async def test_escape_stops_the_answer_and_keeps_what_was_written():
    middle = Gate()
    script = Script([[*ordinary()[:6], middle]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, middle.reached.is_set)
        await pilot.press("escape")
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "Stopped by you" in shown
        assert SENTENCES[0].text[:40] in shown


async def test_an_unchecked_draft_of_a_stopped_answer_stays_and_is_called_that():
    steps = [
        found(),
        token("Half a sen"),
        done(status=AnswerStatus.CANCELLED, sentences=(), text=""),
    ]
    script = Script([steps])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert "Draft, not checked" in text_of(pilot)
        assert "Half a sen" in text_of(pilot)


async def test_a_second_escape_lets_go_of_a_stream_that_does_not_end():
    stuck = Gate()
    script = Script([[found(), stuck]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, stuck.reached.is_set)
        chat(pilot)._cancel = type(chat(pilot)._cancel)()  # the script no longer hears the first
        await pilot.press("escape", "escape")
        await answered_all(pilot)
        assert "Stopped by you" in text_of(pilot)


async def test_emergency_advice_comes_first_in_words_and_stays_above_the_answer():
    told = Gate()
    steps = [lambda q: TriageFound(q.turn, ADVICE), told, *ordinary()[:-1]]
    script = Script([[*steps, done(status=AnswerStatus.EMERGENCY, triage=ADVICE)], ordinary()])
    async with script.app().run_test(size=(80, 24)) as pilot:
        await ask(pilot, "crushing chest pain")
        await until(pilot, told.reached.is_set)
        await until(pilot, lambda: "EMERGENCY: GET HELP NOW" in text_of(pilot))
        assert ADVICE.advice in text_of(pilot)
        assert not chat(pilot).evidence.cards
        told.opened.set()
        await answered_all(pilot)
        assert ADVICE.advice in text_of(pilot)
        await ask(pilot)
        await answered_all(pilot)
        assert not chat(pilot).query_one(EmergencyPanel).display
        chat(pilot).conversation.scroll_home(animate=False)
        await until(pilot, lambda: ADVICE.advice in text_of(pilot))


async def test_an_abstention_says_why_and_shows_what_was_found():
    steps = [
        found(relevant=False),
        done(
            status=AnswerStatus.ABSTAINED,
            text="The passages here do not answer this.",
            sentences=(),
            model=ModelInfo("starter"),
        ),
    ]
    async with Script([steps]).app().run_test(size=WIDE) as pilot:
        await ask(pilot, "Who won the 1998 World Cup?")
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "The passages here do not answer this." in shown
        assert "Not answered" in shown
        assert "near enough" in shown
        assert "Confidence" not in shown


async def test_a_failed_answer_shows_the_next_step_and_gives_the_question_back():
    error = EngineError("The engine stopped answering.", "The socket.", "medqa-tui engine start")
    async with Script([[found(), error]]).app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "✗ The engine stopped answering." in shown
        assert "→ medqa-tui engine start" in shown
        assert chat(pilot).query_one(QuestionInput).text == QUESTION


async def test_an_unexpected_error_is_an_answer_too_and_not_a_traceback():
    async with Script([[ValueError("boom")], ordinary()]).app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert "The answer broke off." in text_of(pilot)
        assert "boom" not in text_of(pilot)
        await ask(pilot)
        await answered_all(pilot)
        assert "✓ 1 supported" in text_of(pilot)


async def test_a_follow_up_carries_the_conversation_and_shows_the_rewritten_query():
    script = Script([ordinary(), [found(query="treatment of type 2 diabetes"), *ordinary()[3:]]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await ask(pilot, "How is it treated?")
        await answered_all(pilot)
        assert "↳ Searched for: treatment of type 2 diabetes" in text_of(pilot)
        assert [turn.question for turn in script.asked[1].context] == [QUESTION]
        assert script.asked[1].context[0].answer


async def test_a_question_that_was_refused_is_no_context():
    refused = done(status=AnswerStatus.ABSTAINED, text="I don't know.", sentences=())
    script = Script([[refused], ordinary()])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot, "Who won the 1998 World Cup?")
        await answered_all(pilot)
        await ask(pilot)
        await answered_all(pilot)
        assert script.asked[1].context == ()


async def test_a_new_conversation_forgets_the_context_and_begins_a_session():
    script = Script([ordinary(), ordinary()])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "Ask a medical question" in text_of(pilot))
        assert not chat(pilot).evidence.cards
        await ask(pilot)
        await answered_all(pilot)
        assert script.asked[1].context == ()
        assert script.sessions == 2


async def test_a_withdrawn_draft_is_gone_and_the_next_speaker_is_named():
    quoted = ModelInfo("starter", generator=GeneratorKind.EXTRACTIVE)
    steps = [
        found(),
        token("The answer lies within the box."),
        lambda q: DraftDropped(q.turn, "It does not stand in the evidence."),
        token("Common symptoms"),
        done(model=quoted, notices=("It does not stand in the evidence.",)),
    ]
    async with Script([steps]).app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        shown = text_of(pilot)
        assert "within the box" not in shown
        assert shown.count("It does not stand in the evidence.") == 1
        assert "Quoted from the evidence, without a language model" in shown


async def test_notices_are_badges_and_said_once():
    slow = "No GPU found; answering on the CPU will be slower."
    steps = [lambda q: Notice(q.turn, "cpu", slow), *ordinary()[:-1], done(notices=(slow,))]
    async with Script([steps]).app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        assert text_of(pilot).count(f"◆ {slow}") == 1


async def test_the_engine_warms_while_the_user_types_and_trouble_is_told():
    script = Script()
    script.backend.warm = [StatusChanged("start", "load", "Loading the embedding model", 0.4)]
    async with script.app().run_test(size=WIDE) as pilot:
        await until(pilot, lambda: "starter │ Ready" in text_of(pilot))
    broken = Script()
    broken.backend.warm = [EngineError("The engine did not start.", "", "medqa-tui doctor")]
    async with broken.app().run_test(size=WIDE) as pilot:
        await until(pilot, lambda: "→ medqa-tui doctor" in text_of(pilot))
        assert "✗ The engine did not start." in text_of(pilot)
    assert broken.backend.closed


async def test_an_answer_that_needs_setup_opens_setup():
    script = Script([[NotSetUpError("Nothing is installed.", "", "medqa-tui setup")]])
    async with script.app().run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: isinstance(pilot.app.screen, SetupScreen))


async def test_one_answer_at_a_time():
    middle = Gate()
    script = Script([[found(), middle, *ordinary()[3:]]])
    async with script.app().run_test(size=WIDE, notifications=True) as pilot:
        await ask(pilot)
        await until(pilot, middle.reached.is_set)
        await ask(pilot, "And another thing?")
        await until(pilot, lambda: "Still answering" in text_of(pilot))
        assert chat(pilot).query_one(QuestionInput).text == "And another thing?"
        middle.opened.set()
        await answered_all(pilot)
        assert len(script.asked) == 1


async def test_a_crash_prints_no_traceback_and_so_no_question(monkeypatch):
    def fail(self, message):
        question = QUESTION
        raise ValueError(question)

    monkeypatch.setattr(ChatScreen, "on_engine_ready", fail)
    app = Script().app()
    with pytest.raises(ValueError, match="symptoms"):
        async with app.run_test() as pilot:
            await until(pilot, lambda: app._exception)
    assert not app._exit_renderables


async def test_a_history_that_cannot_be_written_is_told_and_the_answer_goes_on():
    script = Script(trouble="This answer is not kept. [Errno 28] No space left on device")
    async with script.app().run_test(size=WIDE, notifications=True) as pilot:
        await ask(pilot)
        await answered_all(pilot)
        await until(pilot, lambda: "This answer is not kept." in text_of(pilot))
        assert "✓ 1 supported" in text_of(pilot)
