"""Scores of answers, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from medqa_tui.evaluation import overlap

ANSWER = "Asthma causes wheezing. [1] It is a disease. [2]"
REFERENCE = "Asthma is a disease that causes wheezing."


def test_words_are_compared_as_squad_does() -> None:
    assert overlap.tokens("The  flu's fever, a cough!") == ["flus", "fever", "cough"]
    # 6 words and 6 words share 5: asthma, causes, wheezing, is, disease.
    assert overlap.overlap(ANSWER, REFERENCE).f1 == pytest.approx(2 * 5 / 12)
    assert overlap.token_f1("flu flu flu", "flu fever") == pytest.approx(2 * 1 / 5)
    assert overlap.token_f1("", "flu") == 0.0
    assert overlap.exact_match("The flu!", "flu") == 1.0
    assert overlap.exact_match("fever flu", "flu fever") == 0.0


def test_rouge_l_is_the_longest_common_subsequence_of_stems() -> None:
    # Of 5 and 4 words, "people cough at" is the longest common run with gaps; stems are compared.
    score = overlap.rouge_l("people are coughing at night", "people cough at work")
    precision, recall = 3 / 5, 3 / 4
    assert score == pytest.approx(2 * precision * recall / (precision + recall))


def test_bleu_is_the_mean_of_precisions_with_a_penalty_for_brevity() -> None:
    assert overlap.bleu("the flu gives a fever", "the flu gives a fever") == pytest.approx(1.0)
    # Every run of 1 to 4 words is there; 4 words against 5 cost exp(1 - 5/4).
    score = overlap.bleu("the flu gives a", "the flu gives a fever")
    assert score == pytest.approx(math.exp(-0.25))
    assert overlap.bleu("", "flu") == 0.0


def test_what_is_copied_is_counted_in_runs() -> None:
    passages = ["one two three four five six seven eight nine", "ten"]
    assert overlap.copied("One two three four five six seven eight. [1]", passages) == 1.0
    # Three runs of eight, of which one stands there.
    said = "one two three four five six seven eight then now"
    assert overlap.copied(said, passages) == pytest.approx(1 / 3)
    assert overlap.copied("too short", passages) == 0.0


def test_every_system_gets_the_same_words() -> None:
    assert overlap.within(ANSWER, 7) == ("Asthma causes wheezing. [1]", "It is a disease. [2]")
    assert overlap.within(ANSWER, 6) == ("Asthma causes wheezing. [1]",)
    assert overlap.within(ANSWER, 2) == ("Asthma causes [1]",)
    assert overlap.length_in_words(ANSWER) == 7
    assert overlap.shortened("one two three", 2) == "one two"


def test_a_ranking_is_judged_by_its_pairs() -> None:
    # Of the four pairs, three are in order and one is equal.
    assert overlap.ranking_auc([1.0, 2.0], [0.0, 1.0]) == pytest.approx(3.5 / 4)
    assert overlap.ranking_auc([], [1.0]) is None
