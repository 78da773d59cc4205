"""An answer from memory on the screen: never shown as checked or supported."""

from __future__ import annotations

from medqa_tui.domain import Confidence, ConfidenceLabel, Sentence
from medqa_tui.events import StatusChanged
from medqa_tui.grounding.closed_book import LABEL

from .scripted import Gate, Script, answered_all, ask, done, notice, text_of, token, until


def half_done(message: str):
    return lambda q: StatusChanged(q.turn, "write", message, 0.5)


async def test_it_is_labelled_from_the_first_token_to_the_end():
    said = "Rest and fluids help."
    middle = Gate()
    last = done(
        text=said,
        sentences=(Sentence(said),),
        evidence=(),
        confidence=Confidence(0.3, ConfidenceLabel.LOW),
        closed_book=True,
    )
    comparing = Gate()
    steps = [notice(LABEL), half_done("Comparing 4 drafts."), comparing, token(said), middle, last]
    script = Script([steps])
    async with script.app().run_test(size=(120, 40)) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "Comparing 4 drafts. 50%" in text_of(pilot))
        comparing.opened.set()
        await until(pilot, middle.reached.is_set)
        await until(pilot, lambda: "Draft from memory, not checked" in text_of(pilot))
        assert "being checked" not in text_of(pilot)
        assert "Closed-book answer: written from the model's memory." in text_of(pilot)
        middle.opened.set()
        await answered_all(pilot)
        shown = text_of(pilot)
        assert f"{said} ○" in shown
        assert "Closed-book answer: no evidence supports it." in shown
        assert "○ 1 not checked" in shown
        assert "Confidence: low (0.30, estimated)" in shown
        assert "✓" not in shown
        assert "Sources" not in shown
