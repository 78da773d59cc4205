import threading

import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.config.schema import RetrievalSettings
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage, Scope
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import manifest as index
from medqa_tui.retrieval.index import build_index
from medqa_tui.retrieval.loading import open_index
from medqa_tui.retrieval.retriever import Retriever

CARDS = {
    "asthma": ("What is asthma?", "Asthma narrows the airways and makes people wheeze.", "asma"),
    "stroke": ("What is a stroke?", "A stroke stops the blood to a part of the brain.", "strok"),
    "statins": ("What are statins?", "Statins lower cholesterol in the blood.", "lipitor"),
    "eczema": ("What is eczema?", "Eczema makes the skin dry, red and itchy.", "exzema"),
    "gout": ("What is gout?", "Gout makes a joint swell, often the big toe.", "podagra"),
    "flu": ("What is the flu?", "The flu is caused by a virus and brings fever.", "influensa"),
}


def fill(store: CorpusStore, corpus: str, names) -> None:
    records = []
    for name in names:
        question, text, phrasing = CARDS[name]
        passage = Passage(f"{corpus}:{name}#0", corpus, name, name.title(), text, question)
        records.append(PassageRecord(passage, (phrasing,)))
    store.replace(CorpusInfo(corpus), records)


class Longest:
    """A reranker that likes long texts."""

    depth = 3
    blend = None

    def __init__(self):
        self.seen = []

    def score(self, query, texts):
        self.seen.append(list(texts))
        return [float(len(text)) for text in texts]


@pytest.fixture
def store(tmp_path):
    with CorpusStore(tmp_path / "corpora.db") as store:
        fill(store, "cards", CARDS)
        fill(store, "notes", ["gout", "flu"])
        yield store


@pytest.fixture
def folder(store, tmp_path):
    build_index(store, HashingEmbedder(), tmp_path / "index")
    return tmp_path / "index"


def ids(evidence):
    return [item.passage.id for item in evidence]


def test_words_are_searched_before_any_embedder(store, folder):
    retriever = Retriever.open(folder, store)
    evidence = retriever.lexical("what makes people wheeze", 3)
    assert ids(evidence)[0] == "cards:asthma#0"
    first = evidence[0]
    assert (first.n, first.scores.bm25_rank, first.scores.dense) == (1, 1, None)
    assert first.passage.question == "What is asthma?"


def test_a_phrasing_leads_to_its_passage(store, folder):
    retriever = Retriever.open(folder, store)
    assert ids(retriever.lexical("podagra", 5)) == ["cards:gout#0", "notes:gout#0"]


def test_both_arms_are_fused_and_every_score_is_there(store, folder):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    result = retriever.search("what is a stroke of the brain", 4)
    assert ids(result.evidence)[0] == "cards:stroke#0"
    assert [item.n for item in result.evidence] == [1, 2, 3, 4]
    for item in result.evidence:
        assert item.scores.dense is not None
        assert item.scores.bm25 is not None
        assert item.scores.rrf is not None
    fused = [item.scores.fused for item in result.evidence]
    assert fused == sorted(fused, reverse=True)
    assert result.relevant
    assert result.notices == ()


@pytest.mark.parametrize("mode", ["bm25", "dense", "hybrid"])
def test_each_mode_shows_its_own_scores(store, folder, mode):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    scores = retriever.search("statins lower cholesterol", 2, mode=mode).evidence[0].scores
    assert (scores.rrf is not None) == (mode == "hybrid")
    assert (scores.bm25_rank is not None) == (mode != "dense")
    assert (scores.dense_rank is not None) == (mode != "bm25")


def test_without_an_embedder_a_hybrid_search_says_so(store, folder):
    result = Retriever.open(folder, store).search("statins", 3)
    assert [code for code, _ in result.notices] == ["lexical_only"]
    assert ids(result.evidence)[0] == "cards:statins#0"


def test_the_embedder_may_come_later(store, folder):
    retriever = Retriever.open(folder, store)
    assert not retriever.has_embedder
    retriever.attach(embedder=HashingEmbedder())
    assert retriever.has_embedder
    assert retriever.search("itchy skin", 1).notices == ()


def test_another_embedder_is_refused_in_words(store, folder):
    retriever = Retriever.open(folder, store)
    with pytest.raises(MedQAError, match="another embedding model") as caught:
        retriever.attach(HashingEmbedder(seed="x"))
    assert caught.value.hint.endswith("medqa-tui index build")
    assert ids(retriever.lexical("gout", 1)) == ["cards:gout#0"]


def test_only_the_asked_corpora_are_searched(store, folder):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    for mode in ("bm25", "dense", "hybrid"):
        found = retriever.search(
            "gout fever asthma", 9, mode=mode, scope=Scope(("notes",))
        ).evidence
        assert set(ids(found)) == {"notes:gout#0", "notes:flu#0"}
    assert retriever.search("gout", 9, scope=Scope(("nowhere",))).evidence == ()
    assert len(retriever.search("gout", 99, scope=Scope(("cards", "notes"))).evidence) == 8


def test_the_passages_of_a_corpus_stand_together_in_an_index(tmp_path, folder):
    names = ["ab", "a", "a.b", "a-b", "b", "a0", "a_b"]
    with CorpusStore(tmp_path / "several.db") as store:
        for name in names:
            fill(store, name, CARDS)
        build_index(store, HashingEmbedder(), folder)
        opened = open_index(folder, store)
    for name in names:
        found = opened.ids[opened.positions(name)]
        assert ({id.split(":")[0] for id in found}, len(found)) == ({name}, len(CARDS))
    assert opened.ids[opened.positions("aa")] == []


def test_only_the_asked_sources_and_dates_are_searched(tmp_path):
    with CorpusStore(tmp_path / "dated.db") as store:
        texts = [("a", "NIH", "https://nih.gov/1", "2015-03-02"), ("b", "CDC", None, "2019-01-01")]
        texts += [("c", "Notes", "https://NIH.gov/2", None)]
        records = [
            PassageRecord(Passage(f"x:{n}#0", "x", n, "Gout", f"Gout {n}.", None, s, u, None, d))
            for n, s, u, d in texts
        ]
        store.replace(CorpusInfo("x"), records)
        build_index(store, HashingEmbedder(), tmp_path / "index")
        retriever = Retriever.open(tmp_path / "index", store, HashingEmbedder())

        def found(**scope):
            return {i[2] for i in ids(retriever.search("gout", 9, scope=Scope(**scope)).evidence)}

        assert found() == {"a", "b", "c"}
        assert found(sources=("nih",)) == {"a", "c"}
        assert found(sources=("cdc", "notes")) == {"b", "c"}
        assert found(since="2016") == {"b"}
        assert found(until="2015") == {"a"}
        assert found(since="2015-03-02", until="2019-01") == {"a", "b"}
        assert found(corpora=("x",), sources=("nih",), until="2020") == {"a"}
        assert found(corpora=("y",), sources=("nih",)) == set()


def test_fusion_by_ranks_can_be_chosen(store, folder):
    settings = RetrievalSettings(fusion="rrf")
    retriever = Retriever.open(folder, store, HashingEmbedder(), settings=settings)
    scores = [item.scores for item in retriever.search("what is a stroke", 8).evidence]
    assert [s.rrf for s in scores] == sorted((s.rrf for s in scores), reverse=True)


def test_by_ranks_a_question_without_a_known_word_is_in_the_order_of_the_dense_arm(store, folder):
    settings = RetrievalSettings(fusion="rrf")
    retriever = Retriever.open(folder, store, HashingEmbedder(), settings=settings)
    found = retriever.search("qwzx vbnmk", 3).evidence
    assert [item.scores.bm25_rank for item in found] == [None] * 3
    cosines = [item.scores.dense for item in found]
    assert cosines == sorted(cosines, reverse=True)


def test_the_reranker_orders_the_head_only(store, folder):
    reranker = Longest()
    retriever = Retriever.open(folder, store, HashingEmbedder(), reranker)
    plain = ids(retriever.search("what is the blood", 8, rerank=False).evidence)
    result = retriever.search("what is the blood", 8)
    assert sorted(ids(result.evidence)[:3]) == sorted(plain[:3])
    assert ids(result.evidence)[3:] == plain[3:]
    scores = [item.scores.rerank for item in result.evidence]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert scores[3:] == [None] * 5
    assert reranker.seen[0][0].count("\n") == 1


def test_the_depth_can_be_set(store, folder):
    reranker = Longest()
    settings = RetrievalSettings(rerank_depth=5)
    retriever = Retriever.open(folder, store, HashingEmbedder(), reranker, settings)
    retriever.search("what is gout", 8)
    assert len(reranker.seen[0]) == 5


@pytest.mark.parametrize("name", ["bm25-data.npy", "ids.json"])
def test_a_damaged_word_index_is_made_anew_and_said(store, folder, name):
    whole = Retriever.open(folder, store, HashingEmbedder()).search("itchy skin", 5)
    manifest = index.IndexManifest.read(folder)
    (manifest.folder(folder) / name).write_bytes(b"x")
    result = Retriever.open(folder, store, HashingEmbedder()).search("itchy skin", 5)
    assert ids(result.evidence) == ids(whole.evidence)
    ((code, message),) = result.notices
    assert code == "damaged_index"
    assert f"{name} has 1 bytes instead of" in message
    # Positions would name other passages.
    store.remove("notes")
    with pytest.raises(MedQAError, match="damaged"):
        Retriever.open(folder, store)


def test_a_damaged_graph_means_exact_search_and_a_notice(store, folder):
    manifest = index.IndexManifest.read(folder)
    whole = Retriever.open(folder, store, HashingEmbedder()).search("itchy skin", 5)
    path = manifest.folder(folder) / index.GRAPH_FILES["float32"]
    path.write_bytes(path.read_bytes()[:-8] + b"12345678")
    result = Retriever.open(folder, store, HashingEmbedder()).search("itchy skin", 5)
    assert ids(result.evidence) == ids(whole.evidence)
    ((code, message),) = result.notices
    assert code == "exact_search"
    assert "hnsw.bin was changed" in message


def test_damaged_vectors_leave_the_words(store, folder):
    manifest = index.IndexManifest.read(folder)
    (manifest.folder(folder) / index.VECTORS_FILE).unlink()
    retriever = Retriever.open(folder, store)
    with pytest.raises(MedQAError, match="damaged"):
        retriever.attach(HashingEmbedder())
    assert ids(retriever.lexical("stroke", 1)) == ["cards:stroke#0"]


def test_passages_that_are_gone_are_left_out_and_said(store, folder):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    store.remove("notes")
    result = retriever.search("gout", 8)
    assert "notes:gout#0" not in ids(result.evidence)
    assert [item.n for item in result.evidence] == list(range(1, len(result.evidence) + 1))
    code, message = result.notices[0]
    assert code == "stale_index"
    assert "notes was removed. Type: medqa-tui index build" in message


def test_what_was_removed_does_not_crowd_out_what_is_there(store, tmp_path):
    copies = []
    for number in range(200):
        text = f"Gout makes a joint swell {number}."
        passage = Passage(f"big:{number}#0", "big", str(number), "Gout", text, "What is gout?")
        copies.append(PassageRecord(passage))
    store.replace(CorpusInfo("big"), copies)
    build_index(store, HashingEmbedder(), tmp_path / "index")
    retriever = Retriever.open(tmp_path / "index", store, HashingEmbedder())
    assert ids(retriever.search("What is gout?", 1).evidence)[0].startswith("big:")
    store.merge(CorpusInfo("big"), copies[30:])
    found = retriever.search("What is gout?", 3)
    assert "big has changed" in found.notices[-1][1]
    assert len(found.evidence) == 3
    store.remove("big")
    for evidence in (
        retriever.search("What is gout?", 3).evidence,
        retriever.lexical("What is gout?", 2),
        retriever.search("gout", 2, scope=Scope(corpora=("big", "notes"))).evidence,
    ):
        assert len(evidence) >= 2
        assert not any(name.startswith("big:") for name in ids(evidence))


def test_a_corpus_that_is_not_indexed_yet_is_said(store, folder):
    fill(store, "later", ["flu"])
    retriever = Retriever.open(folder, store, HashingEmbedder())
    assert "later is not in it yet" in retriever.search("flu", 3).notices[0][1]


def test_nothing_relevant_is_said(store, folder):
    retriever = Retriever.open(folder, store)
    assert not retriever.search("Who won the 1998 World Cup?", 5, mode="bm25").relevant
    assert not retriever.search("", 5).relevant


def test_several_threads_may_search(store, folder):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    expected = {name: ids(retriever.search(CARDS[name][0], 3).evidence) for name in CARDS}
    wrong = []

    def work(name):
        for _ in range(10):
            if ids(retriever.search(CARDS[name][0], 3).evidence) != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in CARDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
