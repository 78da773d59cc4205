import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.retrieval.reranker import DEPTH_CPU, DEPTH_GPU, Reranker

from .tiny_bert import build_cross_encoder

TEXTS = ["asthma is treated", "what is a stroke ?", "type 2 diabetes makes people thirsty"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


def test_each_text_gets_one_score_in_its_place(folder):
    reranker = Reranker.load(folder)
    scores = reranker.score("what is asthma ?", TEXTS)
    assert len(scores) == 3
    assert len(set(scores)) == 3
    turned = reranker.score("what is asthma ?", TEXTS[::-1])
    assert turned[::-1] == pytest.approx(scores, abs=1e-5)
    assert reranker.score("what is a stroke ?", TEXTS) != pytest.approx(scores, abs=1e-7)
    assert reranker.score("asthma", []) == []


def test_the_depth_follows_the_device(folder):
    reranker = Reranker.load(folder)
    assert reranker.depth == DEPTH_CPU
    reranker.device = "cuda:0"
    assert reranker.depth == DEPTH_GPU


def test_a_folder_that_is_no_cross_encoder_is_said(tmp_path):
    with pytest.raises(MedQAError, match="re-ranking model") as caught:
        Reranker.load(tmp_path)
    assert "config.json" in caught.value.detail
    with pytest.raises(MedQAError, match="re-ranking model") as caught:
        Reranker.load(build_cross_encoder(tmp_path / "three", labels=3))
    assert "3 scores" in caught.value.detail
    broken = build_cross_encoder(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(MedQAError, match="re-ranking model"):
        Reranker.load(broken)


def test_it_takes_its_place_in_the_retriever(folder, tmp_path):
    from medqa_tui.corpus.record import CorpusInfo, PassageRecord
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.domain import Passage
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.index import build_index
    from medqa_tui.retrieval.retriever import Retriever

    from .tiny_bert import build_sentence_transformer

    embedder = Embedder.load(build_sentence_transformer(tmp_path / "st"))
    with CorpusStore(tmp_path / "corpora.db") as store:
        records = [
            PassageRecord(Passage(f"notes:{n}#0", "notes", str(n), "Note", text))
            for n, text in enumerate(TEXTS)
        ]
        store.replace(CorpusInfo("notes"), records)
        build_index(store, embedder, tmp_path / "index")
        reranker = Reranker.load(folder)
        retriever = Retriever.open(tmp_path / "index", store, embedder, reranker)
        evidence = retriever.search("what is asthma ?", 3).evidence
        scores = [item.scores.rerank for item in evidence]
        assert scores == sorted(scores, reverse=True)
        texts = [f"Note\n{item.passage.text}" for item in evidence]
        assert scores == pytest.approx(reranker.score("what is asthma ?", texts), abs=1e-5)
