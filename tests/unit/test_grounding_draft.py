"""Which sentences of a draft are shown, and when it is given up."""

from __future__ import annotations

from medqa_tui.domain import Evidence, GeneratorKind, Passage, Scores, Sentence, Support
from medqa_tui.grounding.draft import Draft

MODEL, EXTRACTIVE = GeneratorKind.MODEL, GeneratorKind.EXTRACTIVE


def passage(n: int, dense: float | None) -> Evidence:
    return Evidence(n, Passage(f"c:d{n}#0", "c", f"d{n}", "Stroke", "Text."), Scores(dense=dense))


NEAR_AND_FAR = (passage(1, 0.84), passage(2, 0.70))


def said(
    text: str, n: int = 1, support: Support = Support.SUPPORTED, score: float = 0.9
) -> Sentence:
    return Sentence(text, (n,), support, score)


def test_a_sentence_from_the_best_passage_is_shown_at_once() -> None:
    draft = Draft(NEAR_AND_FAR)
    assert draft.take(said("A."), MODEL) == (said("A."),)
    assert draft.kept == [said("A.")]


def test_a_draft_about_the_passage_beside_it_waits_and_is_given_up() -> None:
    draft = Draft(NEAR_AND_FAR)
    for text in ("A.", "B.", "C."):
        assert draft.take(said(text, n=2), MODEL) == ()
    assert draft.is_hopeless
    assert draft.kept == []


def test_what_waited_is_shown_in_order_with_the_first_that_is_to_the_point() -> None:
    draft = Draft(NEAR_AND_FAR)
    beside, best = said("A.", n=2), said("B.", n=1)
    assert draft.take(beside, MODEL) == ()
    assert draft.take(best, MODEL) == (beside, best)
    after = said("C.", n=2, support=Support.PARTIAL, score=0.55)
    assert draft.take(after, MODEL) == (after,)
    assert not draft.is_hopeless


def test_a_weakly_carried_sentence_does_not_begin_an_answer() -> None:
    draft = Draft(NEAR_AND_FAR)
    assert draft.take(said("A.", support=Support.PARTIAL, score=0.55), MODEL) == ()
    assert draft.take(said("B.", support=Support.PARTIAL, score=0.70), MODEL) != ()


def test_unsupported_sentences_are_left_out_and_end_a_draft_that_has_nothing_else() -> None:
    draft = Draft(NEAR_AND_FAR)
    for text in ("A.", "B."):
        assert draft.take(said(text, support=Support.UNSUPPORTED, score=0.0), MODEL) == ()
    assert len(draft.left_out) == 2
    assert draft.is_hopeless


def test_a_repeated_sentence_is_taken_once() -> None:
    draft = Draft(NEAR_AND_FAR)
    draft.take(said("A."), MODEL)
    assert draft.take(said("A."), MODEL) == ()


def test_quotes_never_wait() -> None:
    draft = Draft(NEAR_AND_FAR)
    assert draft.take(said("A.", n=2, score=1.0), EXTRACTIVE) == (said("A.", n=2, score=1.0),)


def test_without_cosines_any_passage_that_is_read_will_do() -> None:
    draft = Draft((passage(1, None), passage(2, None)))
    assert draft.take(said("A.", n=2), MODEL) != ()
