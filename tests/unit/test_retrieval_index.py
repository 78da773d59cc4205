import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import building as module
from medqa_tui.retrieval import manifest as files
from medqa_tui.retrieval import probe
from medqa_tui.retrieval.index import IndexManifest, build_index, verify_index

TOPICS = "fever cough rash asthma stroke statin bone heart liver kidney sleep virus"
WORDS = TOPICS.split()


def record(number: int, corpus: str = "notes") -> PassageRecord:
    first, second = WORDS[number % 12], WORDS[(number * 7 + 3) % 12]
    passage = Passage(
        f"{corpus}:{number}#0",
        corpus,
        str(number),
        first.title(),
        f"The {first} and the {second} of case {number}.",
        f"What is {first} {number}?",
    )
    return PassageRecord(passage, (f"{first} number {number}",))


def fill(store: CorpusStore, count: int = 60, corpus: str = "notes") -> None:
    store.replace(CorpusInfo(corpus), [record(n, corpus) for n in range(count)])


@pytest.fixture
def store(tmp_path):
    with CorpusStore(tmp_path / "corpora.db") as store:
        fill(store)
        yield store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


def test_a_fresh_index_is_fine(store, folder):
    embedder = HashingEmbedder()
    calls = []
    manifest = build_index(store, embedder, folder, on_progress=lambda *at: calls.append(at))
    assert (manifest.passages, manifest.vectors) == (60, 120)
    assert calls[-1] == (120, 120)
    assert IndexManifest.read(folder) == manifest
    assert verify_index(folder, store, embedder) == []
    assert manifest.hnsw is not None
    vectors = np.load(manifest.folder(folder) / files.VECTORS_FILE)
    expected = embedder.encode([t for r in store.records() for t in r.dense_texts])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_every_reason_to_rebuild_is_named(store, folder):
    embedder = HashingEmbedder()
    assert "no search index" in verify_index(folder)[0]
    build_index(store, embedder, folder)
    for other, words in [
        (HashingEmbedder(name="other"), "id was 'hashing' and is now 'other'"),
        (HashingEmbedder(dimension=32), "dimension was 48 and is now 32"),
        # The same name and size but other weights: only the canary tells.
        (HashingEmbedder(seed="x"), "gives other vectors"),
    ]:
        (reason,) = verify_index(folder, store, other)
        assert words in reason
    fill(store, 3, "more")
    assert verify_index(folder, store) == ["the corpus more was added"]
    fill(store, 59)
    store.remove("more")
    assert verify_index(folder, store) == ["the corpus notes has changed"]
    store.remove("notes")
    assert verify_index(folder, store) == ["the corpus notes was removed"]


def test_flipped_bytes_and_missing_files_are_named(store, folder):
    manifest = build_index(store, HashingEmbedder(), folder)
    for file in manifest.files:
        path = manifest.folder(folder) / file.name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(flipped) // 2] ^= 1
        path.write_bytes(flipped)
        assert verify_index(folder) == [f"{file.name} was changed: its SHA-256 differs"]
        path.write_bytes(whole[:-1])
        assert "bytes instead of" in verify_index(folder)[0]
        path.unlink()
        assert verify_index(folder) == [f"{file.name} is missing"]
        path.write_bytes(whole)
    assert verify_index(folder) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "another version"),
        ({"generation": "../elsewhere"}, "leads out of the folder"),
        ({"embedder": {}}, "cannot be read"),
        ({"unknown": 1}, "cannot be read"),
    ],
)
def test_a_manifest_that_is_not_understood_is_said(store, folder, change, words):
    build_index(store, HashingEmbedder(), folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    (reason,) = verify_index(folder)
    assert words in reason


def test_a_manifest_that_is_no_json_is_said(store, folder):
    build_index(store, HashingEmbedder(), folder)
    (folder / "manifest.json").write_text("{")
    assert "cannot be read" in verify_index(folder)[0]


def test_only_the_named_corpora_are_indexed(store, folder):
    fill(store, 5, "more")
    manifest = build_index(store, HashingEmbedder(), folder, corpora=("more",))
    assert manifest.passages == 5
    fill(store, 61)
    assert verify_index(folder, store) == []
    with pytest.raises(MedQAError, match="no such corpus"):
        build_index(store, HashingEmbedder(), folder, corpora=("nowhere",))


def test_an_empty_store_is_said(tmp_path, folder):
    with (
        CorpusStore(tmp_path / "empty.db") as empty,
        pytest.raises(MedQAError, match="nothing to index"),
    ):
        build_index(empty, HashingEmbedder(), folder)


def test_a_rebuild_replaces_the_old_generation(store, folder):
    old = build_index(store, HashingEmbedder(), folder)
    fill(store, 61)
    new = build_index(store, HashingEmbedder(), folder)
    assert not old.folder(folder).exists()
    assert new.folder(folder).exists()
    assert not (folder / "build").exists()
    assert verify_index(folder, store) == []


class Killed(HashingEmbedder):
    """Kills its own process with the given call of `encode`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def encode(self, texts, on_progress=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 9)
        return super().encode(texts)


def test_a_killed_build_resumes_and_the_old_index_stays(store, folder, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 32)
    old = build_index(store, HashingEmbedder(), folder)
    fill(store, 160)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_retrieval_index as t
t.module.SHARD = 32
with t.CorpusStore(Path({str(store.path)!r})) as store:
    t.build_index(store, t.Killed(3), Path({str(folder)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert IndexManifest.read(folder) == old
    assert verify_index(folder) == []
    embedder = HashingEmbedder()
    new = build_index(store, embedder, folder)
    # 60 passages were known from the old index, two shards from the killed build.
    assert len(embedder.encoded) == 200 - 2 * 32
    assert verify_index(folder, store, embedder) == []
    vectors = np.load(new.folder(folder) / files.VECTORS_FILE)
    expected = HashingEmbedder().encode([t for r in store.records() for t in r.dense_texts])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_only_what_is_new_is_embedded(store, folder):
    build_index(store, HashingEmbedder(), folder)
    embedder = HashingEmbedder()
    fill(store, 5, "more")
    calls = []
    manifest = build_index(store, embedder, folder, on_progress=lambda *at: calls.append(at))
    # A text of another corpus that reads the same has its vector already.
    assert embedder.encoded == []
    store.replace(CorpusInfo("notes"), [record(n) for n in range(10, 63)])
    manifest = build_index(store, embedder, folder, on_progress=lambda *at: calls.append(at))
    assert len(embedder.encoded) == 2 * 3
    assert calls[-1] == (manifest.vectors, manifest.vectors)
    assert verify_index(folder, store, embedder) == []
    vectors = np.load(manifest.folder(folder) / files.VECTORS_FILE)
    expected = HashingEmbedder().encode([t for r in store.records() for t in r.dense_texts])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("name", [files.VECTORS_FILE, files.KEYS_FILE])
def test_vectors_that_were_damaged_are_made_anew(store, folder, name):
    manifest = build_index(store, HashingEmbedder(), folder)
    path = manifest.folder(folder) / name
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(whole)
    embedder = HashingEmbedder()
    build_index(store, embedder, folder)
    assert len(embedder.encoded) == 120
    assert verify_index(folder, store, embedder) == []


def test_another_model_embeds_everything_anew(store, folder):
    build_index(store, HashingEmbedder(), folder)
    other = HashingEmbedder(seed="x")
    build_index(store, other, folder)
    assert len(other.encoded) == 120


def test_rounded_vectors_are_taken_over_too(store, folder):
    pytest.importorskip("usearch")
    build_index(store, HashingEmbedder(), folder)
    embedder = HashingEmbedder()
    manifest = build_index(store, embedder, folder, storage="int8")
    assert embedder.encoded == []
    assert (manifest.storage, manifest.hnsw is not None) == ("int8", True)
    vectors = np.load(manifest.folder(folder) / files.VECTORS_FILE)
    assert vectors.dtype == np.float16
    assert verify_index(folder, store, embedder) == []


def test_shards_of_other_work_are_not_used(store, folder, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 32)

    class Broken(HashingEmbedder):
        def encode(self, texts, on_progress=None):
            if self.encoded:
                raise RuntimeError("stopped")
            return super().encode(texts)

    with pytest.raises(RuntimeError, match="stopped"):
        build_index(store, Broken(), folder)
    assert list((folder / "build" / "shards").glob("*.npy"))
    other = HashingEmbedder(seed="x")
    build_index(store, other, folder)
    assert len(other.encoded) == 120


def test_a_store_that_changes_meanwhile_is_noticed(store, folder):
    class Meddling(HashingEmbedder):
        def encode(self, texts, on_progress=None):
            fill(store, 10, "late")
            return super().encode(texts)

    with pytest.raises(MedQAError, match="changed while"):
        build_index(store, Meddling(), folder)
    assert "no search index" in verify_index(folder)[0]


def test_two_builders_do_not_meet(store, folder):
    class Second(HashingEmbedder):
        def encode(self, texts, on_progress=None):
            with pytest.raises(MedQAError, match="Another process is building"):
                build_index(store, HashingEmbedder(), folder)
            return super().encode(texts)

    build_index(store, Second(), folder)
    assert verify_index(folder, store) == []


def test_without_a_working_hnswlib_the_index_is_exact(store, folder, monkeypatch):
    folder.mkdir()
    row = {"build": probe.hnswlib_build(), "ok": False, "reason": "it ended with SIGILL"}
    (folder / probe.PROBE_FILE).write_text(json.dumps(row))
    manifest = build_index(store, HashingEmbedder(), folder)
    assert manifest.hnsw is None
    assert manifest.hnsw_reason == "it ended with SIGILL"
    assert files.GRAPH_FILES["float32"] not in {file.name for file in manifest.files}
    assert verify_index(folder, store) == []
