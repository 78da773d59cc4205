"""How far a cross-encoder may change the order of a search."""

import pytest

from medqa_tui.retrieval.blending import Blend

BLEND = Blend(reach=0.25, absent=-6.0, temperature=1.0)
RETRIEVED = [0.60, 0.50, 0.36]


def order(logits, retrieved=RETRIEVED, blend=BLEND):
    scores = blend.scores(logits, retrieved)
    return sorted(range(len(scores)), key=lambda n: -scores[n])


def test_a_sure_model_lifts_its_passage():
    assert order([-9.0, -8.0, 2.0]) == [2, 0, 1]


def test_a_model_that_finds_none_leaves_the_order_as_it_is():
    # The same distances between the logits as above, all far below "none of these".
    assert order([-29.0, -28.0, -18.0]) == [0, 1, 2]


def test_a_passage_climbs_no_further_than_the_reach():
    assert order([-9.0, -8.0, 30.0], [0.60, 0.50, 0.34]) == [0, 2, 1]


def test_two_equally_sure_ones_share_it():
    assert BLEND.shares([4.0, 4.0, -9.0])[:2] == pytest.approx([0.5, 0.5], abs=1e-4)


def test_shares_and_what_is_absent_make_one():
    shares = BLEND.shares([-6.0, -6.0, -6.0])
    assert shares == pytest.approx([0.25, 0.25, 0.25])
    assert BLEND.shares([]) == []


def test_logits_of_any_size_do_not_overflow():
    assert BLEND.shares([1e4, -1e4]) == [1.0, 0.0]
    assert BLEND.shares([-1e4, -1e4]) == [0.0, 0.0]


def test_without_reach_the_search_decides_alone():
    assert Blend(reach=0.0).scores([1.0, 2.0, 3.0], RETRIEVED) == RETRIEVED


def test_a_higher_temperature_asks_for_a_surer_model():
    sure, asked = Blend(temperature=1.0), Blend(temperature=2.0)
    logits = [0.0, 2.0]
    assert asked.shares(logits)[1] < sure.shares(logits)[1]
    assert asked.shares([0.0, 4.0])[1] == pytest.approx(
        Blend(absent=-4.0, temperature=1.0).shares([0.0, 2.0])[1]
    )
