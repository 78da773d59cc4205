import json
import subprocess
import sys
import tracemalloc
from functools import partial

import bm25s
import hnswlib
import numpy as np
import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import dense, lexical, probe
from medqa_tui.retrieval.fusion import reciprocal_rank_fusion
from medqa_tui.retrieval.lexical import LexicalIndex, best, matched_terms, tokenize

TEXTS = [
    "Type 1 diabetes is an autoimmune disease.",
    "Type 2 diabetes develops slowly.",
    "Vitamin D helps the bones.",
    "Vitamin C helps wounds to heal.",
    "Asthma attacks have triggers.",
]


def unit(rows: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_single_letters_and_digits_count():
    index = LexicalIndex.build(TEXTS)
    assert best(index.scores("type 2 diabetes"), 1)[0][0] == 1
    assert best(index.scores("vitamin d"), 1)[0][0] == 2
    assert tokenize("What are the symptoms of Crohn's disease?") == ["symptom", "crohn", "diseas"]


def test_an_index_has_the_words_that_a_question_has():
    texts = ["Crohn's disease isn't the dog\u2019s, it's 's it''s.", "Vitamins D and D.", "", "the"]
    index = LexicalIndex.build(iter(texts))
    vocabulary = index._model.vocab_dict
    assert set(vocabulary) - {""} == {stem for text in texts for stem in tokenize(text)}
    assert len(index) == 4
    expected = bm25s.BM25(k1=lexical.K1, b=lexical.B, method=lexical.METHOD, backend="numpy")
    expected.index([tokenize(text) for text in texts], show_progress=False)
    for stem in set(vocabulary) - {""}:
        found = index._model.get_scores([stem])
        np.testing.assert_array_equal(found, expected.get_scores([stem]))


def test_a_word_of_a_large_corpus_takes_four_bytes_until_it_is_indexed():
    texts = (f"case {number} of fever and cough " * 20 for number in range(2000))
    words = 2000 * len(tokenize("case 1 of fever and cough " * 20))
    tracemalloc.start()
    rows = lexical._numbered(texts, {})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, rows)) == words
    assert held < 10 * words


def test_a_query_without_a_known_word_finds_nothing():
    index = LexicalIndex.build(TEXTS)
    assert best(index.scores("zebra"), 5) == []
    assert best(index.scores("what is the"), 5) == []
    assert best(index.scores(""), 5) == []


def test_scores_are_okapi_bm25():
    texts = ["fever", "fever fever cough", "cough rash rash rash"]
    scores = LexicalIndex.build(texts).scores("fever")
    average, idf = 8 / 3, np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    for place, (tf, length) in enumerate([(1, 1), (2, 3)]):
        norm = 0.9 * (1 - 0.4 + 0.4 * length / average)
        assert scores[place] == pytest.approx(idf * tf / (tf + norm), rel=1e-5)
    assert scores[2] == 0


def test_a_saved_word_index_scores_the_same(tmp_path):
    index = LexicalIndex.build(TEXTS)
    index.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(lexical.FILES)
    again = LexicalIndex.load(tmp_path)
    assert len(again) == len(TEXTS)
    for query in ("type 2 diabetes", "asthma trigger", "vitamin"):
        np.testing.assert_array_equal(index.scores(query), again.scores(query))


def test_a_word_index_that_cannot_be_read_is_said(tmp_path):
    LexicalIndex.build(TEXTS).save(tmp_path)
    (tmp_path / lexical.FILES[0]).write_bytes(b"nothing")
    with pytest.raises(MedQAError, match="word index"):
        LexicalIndex.load(tmp_path)


def test_nothing_to_index_is_said():
    with pytest.raises(MedQAError, match="nothing to index"):
        LexicalIndex.build(["", "..."])


def test_best_is_sorted_masked_and_stable():
    scores = np.array([1, 3, 0, 3, 2, 1], dtype=np.float32)
    assert best(scores, 3) == [(1, 3.0), (3, 3.0), (4, 2.0)]
    assert best(scores, 4) == [(1, 3.0), (3, 3.0), (4, 2.0), (0, 1.0)]
    allowed = np.array([True, False, True, False, False, True])
    assert best(scores, 9, allowed) == [(0, 1.0), (5, 1.0)]


def test_matched_terms_are_the_words_as_typed():
    text = "Triggers of an asthma attack."
    assert matched_terms("what triggered my Asthma attacks", text) == (
        "triggered",
        "asthma",
        "attacks",
    )


def test_coverage_counts_topic_words_in_one_passage():
    index = LexicalIndex.build(TEXTS)
    assert index.coverage("what are vitamin wounds", [2, 3]) == 1.0
    assert index.coverage("vitamin wounds", [2]) == 0.5
    assert index.coverage("what is it", [2]) == 0.0
    assert index.coverage("vitamin", []) == 0.0


def test_fusion_by_hand():
    fused = reciprocal_rank_fusion([[7, 8], [8, 9]])
    assert [position for position, _ in fused] == [8, 7, 9]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)
    weighted = reciprocal_rank_fusion([[7], [9]], weights=[1, 2])
    assert weighted[0] == (9, pytest.approx(2 / 61))
    assert reciprocal_rank_fusion([[5], [4]])[0][0] == 4


def test_exact_search_agrees_with_a_full_sort():
    vectors, query = unit(500), unit(1, seed=9)[0]
    expected = np.argsort(-(vectors @ query), kind="stable")[:20]
    found = dense.exact_search(vectors, query, 20)
    assert [row for row, _ in found] == expected.tolist()
    assert found[0][1] == pytest.approx(float((vectors @ query).max()), abs=1e-6)
    assert len(dense.exact_search(vectors, query, 9999)) == 500


@pytest.fixture(params=["float32", "int8"])
def graph(request, tmp_path):
    if request.param == "int8":
        pytest.importorskip("usearch")
    vectors = unit(3000)
    parameters, reason = dense.build_graph(vectors, tmp_path, request.param)
    assert parameters is not None, reason
    return vectors, partial(dense.load_graph, tmp_path, request.param)


def test_the_graph_finds_what_exact_search_finds(graph):
    vectors, load = graph
    owners = np.arange(len(vectors), dtype=np.int32)
    fast = dense.DenseIndex(vectors, owners, load(*vectors.shape))
    exact = dense.DenseIndex(vectors, owners, None)
    assert (fast.exact, exact.exact) == (False, True)
    hits = 0
    for query in unit(50, seed=5):
        wanted = dict(exact.search(query, 10))
        found = dict(fast.search(query, 10))
        hits += len(wanted.keys() & found.keys())
        for row in wanted.keys() & found.keys():
            assert found[row] == pytest.approx(wanted[row], abs=1e-5)
    assert hits / 500 >= 0.98


def test_a_filtered_search_agrees_with_exact_search_of_what_is_allowed(graph):
    vectors, load = graph
    owners = np.arange(len(vectors), dtype=np.int32)
    fast = dense.DenseIndex(vectors, owners, load(*vectors.shape))
    draw = np.random.default_rng(2)
    for share in (0.9, 0.5, 0.2, 0.001, 0.0):
        allowed = draw.random(len(vectors)) < share
        hits = wanted = 0
        for query in unit(20, seed=6):
            right = {row for row, _ in dense.exact_search(vectors, query, 10, allowed)}
            found = fast.search(query, 10, allowed)
            assert all(allowed[row] for row, _ in found)
            assert len(found) == len(right)
            hits += len(right & {row for row, _ in found})
            wanted += len(right)
        assert hits >= 0.98 * wanted


def test_what_is_allowed_is_found_however_far_away():
    near, far = unit(2000), unit(2000)
    near[:, 0], far[:, 0] = 3, -3
    vectors = np.concatenate([near, far])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    class Nearest:
        def nearest(self, query, k):
            return np.argsort(-(vectors @ query), kind="stable")[:k]

    index = dense.DenseIndex(vectors, np.arange(4000, dtype=np.int32), Nearest())
    allowed = np.arange(4000) >= 2000
    found = index.search(vectors[0], 10, allowed)
    assert found == dense.exact_search(vectors, vectors[0], 10, allowed)
    assert not index.exact


def test_k_is_capped_at_the_count(graph):
    vectors, load = graph
    owners = np.arange(len(vectors), dtype=np.int32)
    fast = dense.DenseIndex(vectors, owners, load(*vectors.shape))
    found = fast.search(vectors[3], 5000)
    assert len({position for position, _ in found}) == len(found) == 3000
    assert found[0][0] == 3


def test_a_graph_that_fails_in_a_search_is_replaced_by_exact_search(tmp_path):
    vectors = unit(3000)
    dense.build_graph(vectors, tmp_path, "float32")
    # Fewer rows in the graph than are asked for: hnswlib raises RuntimeError.
    small = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    small.load_index(str(tmp_path / "hnsw.bin"))
    for row in range(2990):
        small.mark_deleted(row)
    graph = dense.HnswGraph(small)
    index = dense.DenseIndex(vectors, np.arange(3000, dtype=np.int32), graph)
    found = index.search(vectors[5], 20)
    assert found == dense.exact_search(vectors, vectors[5], 20)
    assert index.exact
    assert index.failure


def test_a_graph_of_another_size_is_refused(graph):
    vectors, load = graph
    with pytest.raises(RuntimeError, match="7"):
        load(7, vectors.shape[1])


def test_a_passage_counts_once_by_its_nearest_vector():
    vectors = unit(400)
    owners = np.repeat(np.arange(100), 4).astype(np.int32)
    index = dense.DenseIndex(vectors, owners, None)
    query = unit(1, seed=3)[0]
    expected = (vectors @ query).reshape(100, 4).max(1)
    found = index.search(query, 100)
    assert [position for position, _ in found] == np.argsort(-expected, kind="stable").tolist()
    assert index.cosines(query, [4, 99]) == pytest.approx(expected[[4, 99]].tolist(), abs=1e-6)


def test_a_filter_leaves_only_what_is_allowed(graph):
    vectors, load = graph
    owners = np.arange(len(vectors), dtype=np.int32)
    index = dense.DenseIndex(vectors, owners, load(*vectors.shape))
    allowed = np.zeros(3000, dtype=bool)
    allowed[[10, 20, 30]] = True
    assert {position for position, _ in index.search(vectors[10], 10, allowed)} == {10, 20, 30}


def test_hnswlib_is_tried_in_another_process(tmp_path):
    result = probe.probe_hnswlib()
    assert result.ok, result.reason
    assert probe.probe_once(tmp_path) == result
    kept = json.loads((tmp_path / probe.PROBE_FILE).read_text())
    assert kept["build"] == probe.hnswlib_build()


def test_a_kept_probe_is_believed_until_the_build_changes(tmp_path):
    path = tmp_path / probe.PROBE_FILE
    path.write_text(json.dumps({"build": probe.hnswlib_build(), "ok": False, "reason": "kept"}))
    assert probe.probe_once(tmp_path) == probe.HnswProbe(False, "kept")
    path.write_text(json.dumps({"build": "another", "ok": False, "reason": "kept"}))
    assert probe.probe_once(tmp_path).ok


def test_an_illegal_instruction_is_a_reason_not_a_crash(monkeypatch):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    monkeypatch.setattr(probe, "_SCRIPT", script)
    result = probe.probe_hnswlib()
    assert not result.ok
    assert "SIGILL" in result.reason
    assert "HNSWLIB_NO_NATIVE=1" in result.reason


def test_a_trial_that_was_cut_short_is_not_believed_for_good(tmp_path, monkeypatch):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    monkeypatch.setattr(probe, "_SCRIPT", script)
    result = probe.probe_once(tmp_path)
    assert not result.ok
    assert "SIGTERM" in result.reason
    assert "another CPU" not in result.reason
    assert not (tmp_path / probe.PROBE_FILE).exists()


def test_a_failing_trial_is_a_reason(monkeypatch):
    monkeypatch.setattr(probe, "_SCRIPT", "raise ValueError('no such thing')")
    assert probe.probe_hnswlib().reason.endswith("ValueError: no such thing")


def test_words_are_searched_without_torch_or_hnswlib(tmp_path):
    code = (
        "import sys; from medqa_tui.retrieval import retriever, index, lexical;"
        "print(lexical.LexicalIndex.build(['a fever']).scores('fever')[0] > 0,"
        "[m for m in ('torch', 'hnswlib', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"
