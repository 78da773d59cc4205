"""The line in which answers wait for their turn."""

from __future__ import annotations

import pytest

from medqa_tui.engine.line import Line
from medqa_tui.errors import EngineError


def test_first_come_first_served() -> None:
    line = Line(limit=8)
    first, second, third = line.join(), line.join(), line.join()
    assert [first.ahead, second.ahead, third.ahead] == [0, 1, 2]
    assert line.waiting == 2
    first.leave()
    assert [second.ahead, third.ahead] == [0, 1]
    assert second.moved.is_set()
    assert third.moved.is_set()


def test_whoever_gives_up_lets_the_others_move_on() -> None:
    line = Line(limit=8)
    _, second, third = line.join(), line.join(), line.join()
    second.leave()
    assert third.ahead == 1


def test_an_earlier_draft_of_the_same_answer_is_no_other_answer() -> None:
    line = Line(limit=8)
    _, draft, again = line.join("a"), line.join("b"), line.join("b")
    assert (draft.others, again.ahead, again.others) == (1, 2, 1)


def test_a_full_line_turns_away_with_a_hint() -> None:
    line = Line(limit=2)
    tickets = [line.join() for _ in range(3)]
    with pytest.raises(EngineError) as caught:
        line.join()
    assert "busy" in caught.value.title
    assert caught.value.hint
    tickets[0].leave()
    assert line.join().ahead == 2
