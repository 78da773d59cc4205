"""The parts of the fused score: pairs of words, crowded places, weights."""

from __future__ import annotations

import numpy as np
import pytest

from medqa_tui.retrieval import fusion
from medqa_tui.retrieval.crowding import crowding
from medqa_tui.retrieval.lexical import LexicalIndex
from medqa_tui.retrieval.proximity import pair_scores


def test_words_side_by_side_count() -> None:
    texts = ["Heart attack signs.", "An attack of the heart.", "Heart attack, heart attack!"]
    idf = {"heart": 1.0, "attack": 3.0}
    scores = pair_scores("What is a heart attack?", texts, lambda stem: idf.get(stem, 0.0))
    assert scores[0] == pytest.approx(2.0)
    # Stop words between them do not part words, their order does.
    assert scores[1] == 0.0
    assert scores[2] == pytest.approx(2.0 * 2 * 1.5 / 2.5)
    assert pair_scores("heart", texts, lambda stem: 1.0) == [0.0, 0.0, 0.0]


def test_the_weight_of_a_word_is_that_of_bm25() -> None:
    index = LexicalIndex.build(["fever", "fever cough", "cough rash"])
    assert index.idf("rash") == pytest.approx(np.log(1 + (3 - 1 + 0.5) / 1.5))
    assert index.idf("fever") == pytest.approx(np.log(1 + (3 - 2 + 0.5) / 2.5))
    assert index.idf("zebra") == 0.0


def test_what_is_near_everything_is_crowded() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((50, 16)).astype(np.float32)
    vectors[7] = vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"c:{n}#0" for n in range(50)]
    found = crowding(vectors, np.arange(50), names)
    assert int(found.argmax()) == 7
    cosines = vectors @ vectors[3]
    cosines[3] = -1
    assert found[3] == pytest.approx(np.sort(cosines)[-10:].mean(), abs=1e-5)


def test_passages_of_one_document_do_not_crowd_each_other() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 0, 1]]
    found = crowding(vectors, np.arange(4), ["c:a#0", "c:a#1", "c:a#2", "c:b#0"])
    np.testing.assert_allclose(found, 0.0)
    assert crowding(vectors[:1], np.arange(1), ["c:a#0"]).tolist() == [0.0]


def test_each_part_of_the_score_counts() -> None:
    plain = fusion.fused_score(0.5, 0.0)
    assert plain == 0.5
    assert fusion.fused_score(0.5, 10.0) > plain
    assert fusion.fused_score(0.5, 0.0, pairs=5.0) > plain
    assert fusion.fused_score(0.5, 0.0, crowding=0.5) < plain
