"""Citation marks, confidence and the words of abstention."""

import pytest

from medqa_tui.domain import ConfidenceLabel, Evidence, Passage, Scores, Sentence, Support
from medqa_tui.grounding import abstention
from medqa_tui.grounding.citations import format_marks, parse
from medqa_tui.grounding.confidence import estimate


@pytest.mark.parametrize(
    ("sentence", "clean", "numbers"),
    [
        ("Thirst is common [1].", "Thirst is common.", (1,)),
        ("Thirst is common. [1][2]", "Thirst is common.", (1, 2)),
        ("Thirst is common. [2, 1]", "Thirst is common.", (2, 1)),
        ("Thirst is common [1-3].", "Thirst is common.", (1, 2, 3)),
        ("Thirst is common. [Evidence 2].", "Thirst is common.", (2,)),
        ("Thirst is common. [n]", "Thirst is common.", ()),
        ("- Thirst [1] and hunger [3] are common [1].", "Thirst and hunger are common.", (1, 3)),
        (
            "Ranges [0.5-1.5 mg] and years [2019] stay.",
            "Ranges [0.5-1.5 mg] and years [2019] stay.",
            (),
        ),
        ("1. Drink water [1 and 2]", "Drink water", (1, 2)),
    ],
)
def test_parse(sentence, clean, numbers):
    assert parse(sentence) == (clean, numbers)


def test_marks_round_trip():
    assert parse("Rest. " + format_marks((2, 5))) == ("Rest.", (2, 5))


def _evidence(n, **scores):
    return Evidence(n, Passage(f"c:d{n}#0", "c", f"d{n}", "t", "text"), Scores(**scores))


def _supported(*citations, score=1.0):
    return Sentence("s", citations, Support.SUPPORTED, score)


def test_confidence_follows_support_and_match():
    strong = [_evidence(1, dense=0.8, dense_rank=1, bm25_rank=1)]
    weak = [_evidence(1, dense=0.4)]
    assert estimate([_supported(1)], strong).label is ConfidenceLabel.HIGH
    assert estimate([_supported(1)], weak).score < estimate([_supported(1)], strong).score
    dropped = [_supported(1), Sentence("x", (1,), Support.UNSUPPORTED, 0.1)]
    assert estimate(dropped, strong).label is not ConfidenceLabel.HIGH


def test_confidence_is_low_without_a_check_or_evidence():
    unchecked = [Sentence("s", (1,), Support.NOT_CHECKED)]
    assert estimate(unchecked, [_evidence(1, dense=0.9)]).label is ConfidenceLabel.LOW
    assert estimate([_supported(3)], [_evidence(1, dense=0.9)]).label is ConfidenceLabel.LOW
    assert estimate([], []).score == 0.0
    assert not estimate([], []).calibrated


def test_abstention_says_what_was_searched():
    found = abstention.message("What  causes\nxyz?", evidence_found=True)
    nothing = abstention.message("What causes xyz?", evidence_found=False)
    assert found.startswith("I don't know")
    assert nothing.startswith("I don't know")
    assert "What causes xyz?" in found
    assert found != nothing
    assert len(abstention.message("long " * 500, evidence_found=False)) < 600


def test_confidence_is_never_certain_without_calibration():
    sure = [_evidence(n, dense=0.99, rerank=20.0, dense_rank=n, bm25_rank=n) for n in (1, 2)]
    assert estimate([_supported(1), _supported(2)], sure).score == 0.95


def test_confidence_falls_when_a_sentence_cites_a_far_passage():
    near = [_evidence(1, dense=0.7), _evidence(2, dense=0.68)]
    far = [_evidence(1, dense=0.7), _evidence(2, dense=0.35)]
    cited = [_supported(1), _supported(2)]
    assert estimate(cited, far).score < estimate(cited, near).score
    assert estimate([_supported(2)], far).score < estimate([_supported(2)], far[1:]).score
