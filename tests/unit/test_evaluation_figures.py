"""Figures of a comparison, against values worked out by hand."""

from __future__ import annotations

import math
import threading

import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.domain import Evidence, Passage
from medqa_tui.evaluation import figures, systems
from medqa_tui.evaluation.cases import Case
from medqa_tui.evaluation.safety import Outcome
from medqa_tui.evaluation.systems import Said
from medqa_tui.evaluation.verdict import regressions
from medqa_tui.grounding.support import SupportChecker

TEXT = "The flu causes fever, cough and muscle aches in most people. Rest and fluids help."
FLU = (
    Evidence(1, Passage("c:flu#0", "c", "flu", "Flu", TEXT)),
    Evidence(2, Passage("c:cold#0", "c", "cold", "Cold", "A cold is mild.")),
)
ASKED = "What are the symptoms of the flu?"
REFERENCE = "The flu causes fever and cough."
CASES = (
    Case("a", ASKED, REFERENCE, FLU, answerable=True, relevant=True, close=False),
    Case("b", ASKED, REFERENCE, FLU, answerable=True, relevant=True, close=False),
    Case("c", "What helps with gout?", "", FLU, answerable=False, relevant=False, close=False),
    Case("d", "What causes gout?", "", FLU, answerable=False, relevant=True, close=True),
)
QUOTED = "The flu causes fever, cough and muscle aches in most people. [1]"
DECLINED = Said("The evidence does not answer this question.", True, 1.0, decline_logprob=-0.5)


def measured(*said: Said, safe=(), words: int = 60) -> figures.Figures:
    embedder = HashingEmbedder()
    return figures.measure(
        CASES,
        said,
        words=words,
        checker=SupportChecker(embedder.encode),
        embed=embedder.encode,
        safe=safe,
    )


def test_what_is_declined_counts_as_an_empty_answer() -> None:
    quoting = Said(QUOTED, False, 2.0, reference_logprob=-12.0, reference_tokens=6)
    found = measured(quoting, DECLINED, DECLINED, quoting)
    # "flu causes fever cough and" of 5 words, all in the answer's 10.
    f1 = 2 * 5 / (10 + 5)
    assert found.values["f1"] == pytest.approx((f1, 0.0, None, None))
    assert found.values["supported"] == (1.0, None, None, 1.0)
    assert found.values["copied"] == (1.0, None, None, 1.0)
    assert found.values["words"] == (11.0, None, None, 11.0)
    assert found.values["declined_with"] == (0.0, 1.0, None, None)
    assert found.values["declined_without"] == (None, None, 1.0, 0.0)
    assert found.values["decided"] == (1.0, 0.0, 1.0, 0.0)
    assert found.values["similarity"][0] > 0.6
    assert found.values["similarity"][1:] == (0.0, None, None)
    assert found.values["nll"] == (2.0, None, None, 2.0)
    assert found.perplexity == pytest.approx(math.exp(2.0))
    assert found.mean("f1").mean == pytest.approx(f1 / 2)
    assert found.mean("safe") is None


def test_the_gate_and_the_model_are_told_apart() -> None:
    silent = measured(DECLINED, DECLINED, DECLINED, DECLINED)
    # The search hands on "d", and it is so close that a model that declines is not believed.
    assert silent.together_without == pytest.approx(0.5)
    assert silent.together_with == 1.0
    assert figures.gate(CASES) == {"declined_with": 0.0, "declined_without": 0.5}


def test_a_likely_refusal_ranks_the_unanswerable_higher() -> None:
    def at(value: float) -> Said:
        return Said(QUOTED, False, 1.0, decline_logprob=value)

    # Of the four pairs, one is out of order.
    assert measured(at(-9.0), at(-3.0), at(-4.0), at(-1.0)).auc == pytest.approx(3 / 4)
    assert measured(*[Said(QUOTED, False, 1.0)] * 4).auc is None


def test_differences_are_paired() -> None:
    quoting = Said(QUOTED, False, 1.0)
    first, second = measured(*[quoting] * 4), measured(*[DECLINED] * 4)
    less = figures.compare(first, second)
    assert less["f1"].cases == 2
    assert less["f1"].interval.low == pytest.approx(less["f1"].interval.mean)
    assert less["f1"].sign == 1
    assert less["declined_without"].sign == -1
    assert less["decided"].sign == 0
    assert "supported" not in less, "the second said nothing that could be supported"


def test_every_answer_is_cut_to_the_same_words() -> None:
    long = Said(f"{QUOTED} Rest and fluids help. [1]", False, 1.0)
    assert measured(*[long] * 4, words=12).values["words"][0] == 11.0
    assert measured(*[long] * 4, words=5).values["words"][0] == 5.0


def test_the_lead_is_the_top_passage_from_its_beginning() -> None:
    said = systems.lead(60).answer(CASES[0], threading.Event())
    assert said.text == f"{QUOTED} Rest and fluids help. [1]"
    assert not said.declined
    quoted = systems.extractive(60, HashingEmbedder().encode, "hashing").answer(
        CASES[0], threading.Event()
    )
    assert quoted.text.startswith(QUOTED)
    assert systems.lead(60).key != systems.lead(50).key


def outcomes(*passed: bool) -> list[Outcome]:
    return [Outcome(f"case-{n}", "", "" if each else "it said so") for n, each in enumerate(passed)]


def test_a_verdict_names_what_is_worse_with_its_figures() -> None:
    answers, silent = measured(*[Said(QUOTED, False, 1.0)] * 4), measured(*[DECLINED] * 4)
    less = figures.compare(answers, silent)
    names = ("mine", "base")
    good, bad = outcomes(True, True), outcomes(True, False)
    assert regressions((answers, good), (silent, good), less, names) == ()
    assert regressions((answers, good), (silent, bad), less, names) == ()
    worse = regressions((answers, bad), (silent, good), less, names)
    assert worse == ("mine passes 1 of 2 safety cases and base 2; it fails case-1.",)


def test_declining_surely_worse_is_a_regression() -> None:
    right = measured(*[Said(QUOTED, False, 1.0)] * 2, DECLINED, DECLINED)
    wrong = measured(DECLINED, DECLINED, *[Said(QUOTED, False, 1.0)] * 2)
    less = figures.compare(wrong, right)
    found = regressions((wrong, []), (right, []), less, ("mine", "base"))
    assert found == (
        "mine rightly answers or declines 0% of 4 questions and base 100%: "
        "100 to 100 points less (95%).",
    )
