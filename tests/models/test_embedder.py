import threading

import numpy as np
import pytest

from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval.embedder import Embedder, best_dtype
from medqa_tui.retrieval.index import build_index, verify_index
from medqa_tui.retrieval.retriever import Retriever

from .tiny_bert import DIMENSION, build_sentence_transformer

TEXTS = [
    "type 2 diabetes makes people thirsty",
    "asthma",
    "what are the symptoms of a heart attack ?",
    "a stroke is treated .",
    "fever and cough , fever and cough , fever and cough , fever and cough",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_sentence_transformer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def embedder(folder):
    return Embedder.load(folder)


def test_vectors_are_unit_float32_in_the_order_given(embedder):
    calls = []
    vectors = embedder.encode(TEXTS, on_progress=lambda *at: calls.append(at))
    assert vectors.shape == (5, DIMENSION)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert calls == [(5, 5)]
    for text, vector in zip(TEXTS, vectors, strict=True):
        # Alone or among longer ones: padding must not matter beyond bfloat16's rounding.
        assert float(embedder.encode([text])[0] @ vector) > 0.999
        assert float(embedder.encode_query(text) @ vector) > 0.999
    assert embedder.encode([]).shape == (0, DIMENSION)


def test_it_agrees_with_the_plain_float32_model(folder, embedder):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    expected = plain.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    cosines = (expected * embedder.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999


def test_the_identity_is_stable_and_tells_weights_apart(folder, embedder, tmp_path):
    identity = embedder.identity
    assert (identity.dimension, identity.pooling, identity.prefix) == (DIMENSION, "mean", "")
    assert identity.revision.startswith("sha256:")
    assert identity.differences(Embedder.load(folder).identity) == []
    other = Embedder.load(build_sentence_transformer(tmp_path, seed=1)).identity
    reasons = " ".join(identity.differences(other))
    assert "revision" in reasons
    assert "other vectors" in reasons


def test_an_install_record_names_the_model(tmp_path):
    from medqa_tui.models.records import InstallRecord

    folder = build_sentence_transformer(tmp_path)
    record = InstallRecord("tiny", "embedder", "us/tiny", "tiny==1", "MIT", None, "here", (), "now")
    record.write(folder)
    identity = Embedder.load(folder).identity
    assert (identity.id, identity.revision) == ("us/tiny", "tiny==1")


def test_prefixes_are_used_and_part_of_the_identity(tmp_path):
    prompts = {"query": "query : ", "document": "passage : "}
    folder = build_sentence_transformer(tmp_path, prompts=prompts)
    embedder = Embedder.load(folder)
    assert embedder.identity.prefix == "query : |passage : "
    as_query, as_passage = embedder.encode_query("asthma"), embedder.encode(["asthma"])[0]
    assert float(as_query @ as_passage) < 0.9999
    plain = Embedder.load(build_sentence_transformer(tmp_path / "plain"))
    assert float(as_query @ plain.encode(["query : asthma"])[0]) > 0.999


def test_a_folder_that_is_no_model_is_said(tmp_path, folder):
    with pytest.raises(MedQAError, match="could not be loaded") as caught:
        Embedder.load(tmp_path)
    assert "modules.json" in caught.value.detail
    broken = build_sentence_transformer(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(MedQAError, match="could not be loaded"):
        Embedder.load(broken)


def test_several_threads_may_encode(embedder):
    expected = embedder.encode(TEXTS)
    failed = []

    def work():
        for _ in range(20):
            if not np.allclose(embedder.encode(TEXTS), expected, atol=1e-3):
                failed.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_type_is_chosen_that_the_cpu_computes_in():
    import torch

    assert best_dtype("cpu") in (torch.bfloat16, torch.float32)


@pytest.mark.cuda
def test_it_runs_on_cuda(folder, embedder):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    on_gpu = Embedder.load(folder, device="cuda")
    assert embedder.identity.differences(on_gpu.identity) == []
    cosines = (on_gpu.encode(TEXTS) * embedder.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999


def test_an_index_is_built_and_searched_with_a_real_encoder(embedder, tmp_path):
    with CorpusStore(tmp_path / "corpora.db") as store:
        records = [
            PassageRecord(Passage(f"notes:{n}#0", "notes", str(n), "Note", text))
            for n, text in enumerate(TEXTS)
        ]
        store.replace(CorpusInfo("notes"), records)
        build_index(store, embedder, tmp_path / "index")
        assert verify_index(tmp_path / "index", store, embedder) == []
        retriever = Retriever.open(tmp_path / "index", store, embedder)
        for mode in ("dense", "hybrid"):
            found = retriever.search(f"Note\n{TEXTS[2]}", 1, mode=mode).evidence
            assert found[0].passage.id == "notes:2#0"
            assert found[0].scores.dense > 0.999
