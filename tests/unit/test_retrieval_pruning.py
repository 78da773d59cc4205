"""What was removed leaves every index on the disk, whichever model made it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder
from test_retrieval_index import fill, record

from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.retrieval import building
from medqa_tui.retrieval import manifest as files
from medqa_tui.retrieval.agreement import fingerprints_of
from medqa_tui.retrieval.index import IndexManifest, build_index, verify_index
from medqa_tui.retrieval.pruning import due_indexes, has_removed, is_behind, prune_index
from medqa_tui.retrieval.retriever import Retriever
from medqa_tui.retrieval.vectors import text_key

SECRET = "xylophonesecret"


@pytest.fixture
def store(tmp_path):
    with CorpusStore(tmp_path / "corpora.db") as store:
        fill(store)
        passage = Passage("gone:1#0", "gone", "1", SECRET, f"The {SECRET} of a ward.", "What?")
        store.replace(CorpusInfo("gone"), [PassageRecord(passage), record(700, "gone")])
        yield store


@pytest.fixture
def indexes(tmp_path):
    return tmp_path / "indexes"


def prune_all(indexes, store):
    due = due_indexes(indexes, store)
    for folder in due:
        prune_index(folder, store)
    assert due_indexes(indexes, store) == []
    return [folder.name for folder in due]


def keys(folder):
    manifest = IndexManifest.read(folder)
    return {bytes(row) for row in np.load(manifest.folder(folder) / files.KEYS_FILE)}


def traces(indexes, store):
    """Return the files with the word, and the folders with a vector of a text that is gone."""
    found = [
        path.name
        for path in indexes.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    there = {text_key(text) for each in store.records() for text in each.dense_texts}
    for path in indexes.rglob("*keys.npy"):
        if not {bytes(row) for row in np.load(path)} <= there:
            found.append(str(path))
    return found


def test_what_was_removed_leaves_the_index_of_every_model(store, indexes):
    one, other = HashingEmbedder(), HashingEmbedder(seed="x")
    for name, embedder in (("mine", one), ("same", one), ("other", other)):
        build_index(store, embedder, indexes / name)
    assert due_indexes(indexes, store) == []
    store.remove("gone")
    store.replace(CorpusInfo("new"), [record(900, "new")])
    build_index(store, one, indexes / "mine")
    assert has_removed(indexes, store)
    assert traces(indexes, store) != []
    encoded = len(one.encoded) + len(other.encoded)
    assert prune_all(indexes, store) == ["other", "same"]
    assert traces(indexes, store) == []
    assert not has_removed(indexes, store)
    assert len(one.encoded) + len(other.encoded) == encoded
    # The vectors of what is new came from beside it: as if it had been built.
    assert verify_index(indexes / "same", store, one) == []
    assert not is_behind(indexes / "same", store)
    # Of the other model there are none.
    assert is_behind(indexes / "other", store)
    assert verify_index(indexes / "other", store, other) == ["the corpus new was added"]
    found = Retriever.open(indexes / "other", store, other).search("fever 12", 3)
    assert found.evidence[0].passage.id == "notes:12#0"
    assert "is not in it yet" in dict(found.notices)["stale_index"]
    build_index(store, other, indexes / "other")
    assert verify_index(indexes / "other", store, other) == []


def test_a_changed_passage_is_taken_out_until_its_model_is_there(store, indexes):
    other = HashingEmbedder(seed="x")
    build_index(store, other, indexes / "other")
    changed = [record(n) for n in range(60)]
    changed[5] = PassageRecord(
        Passage("notes:5#0", "notes", "5", "Rash", "Another text by now.", None)
    )
    store.merge(CorpusInfo("notes"), changed)
    assert prune_all(indexes, store) == ["other"]
    manifest = IndexManifest.read(indexes / "other")
    assert manifest.passages == 61
    assert "notes:5#0" not in json.loads(
        (manifest.folder(indexes / "other") / files.IDS_FILE).read_text()
    )
    assert not {text_key(text) for text in record(5).dense_texts} & keys(indexes / "other")
    assert verify_index(indexes / "other", store) == ["the corpus notes has changed"]
    build_index(store, other, indexes / "other")
    assert verify_index(indexes / "other", store, other) == []


def test_an_index_that_only_lacks_what_is_new_is_left_alone(store, indexes):
    build_index(store, HashingEmbedder(seed="x"), indexes / "other")
    store.merge(CorpusInfo("notes"), [record(n) for n in range(70)])
    assert is_behind(indexes / "other", store)
    assert due_indexes(indexes, store) == []


def test_the_vectors_of_a_killed_build_are_kept_but_for_those_of_what_was_removed(
    store, indexes, monkeypatch
):
    monkeypatch.setattr(building, "SHARD", 32)

    class Broken(HashingEmbedder):
        def encode(self, texts, on_progress=None):
            if len(self.encoded) > 90:
                raise RuntimeError("stopped")
            return super().encode(texts)

    with pytest.raises(RuntimeError, match="stopped"):
        build_index(store, Broken(), indexes / "first")
    assert traces(indexes, store) == []
    store.remove("gone")
    assert traces(indexes, store) != []
    assert prune_all(indexes, store) == ["first"]
    assert traces(indexes, store) == []
    again = HashingEmbedder()
    build_index(store, again, indexes / "first")
    # The three shards held three texts of the other corpus.
    assert len(again.encoded) == 120 - (96 - 3) + 1
    assert verify_index(indexes / "first", store, again) == []


def test_what_cannot_be_read_or_has_nothing_left_is_deleted(store, indexes):
    embedder = HashingEmbedder()
    for name in ("broken", "orphan"):
        build_index(store, embedder, indexes / name)
    build_index(store, embedder, indexes / "only", corpora=("gone",))
    (indexes / "broken" / files.MANIFEST_NAME).write_text("{}")
    kept = IndexManifest.read(indexes / "orphan").folder(indexes / "orphan")
    (indexes / "orphan" / "generation-old").mkdir()
    (indexes / "orphan" / "generation-old" / "words.json").write_text(SECRET)
    assert prune_all(indexes, store) == ["broken", "orphan"]
    assert not kept.exists()
    assert verify_index(indexes / "orphan", store, embedder) == []
    store.remove("gone")
    assert prune_all(indexes, store) == ["only", "orphan"]
    assert traces(indexes, store) == []
    assert list((indexes / "orphan").glob("generation-*"))
    assert not list((indexes / "only").glob("generation-*"))
    assert not list((indexes / "broken").glob("generation-*"))


def test_the_fingerprint_of_a_part_is_that_of_a_corpus_of_it(store, tmp_path):
    ids = [each.passage.id for each in store.records()]
    assert fingerprints_of(store, ids) == store.fingerprints()
    with CorpusStore(tmp_path / "part.db") as part:
        fill(part, 20)
        assert fingerprints_of(store, ids[2:22]) == part.fingerprints()
