"""An index that is replaced while it is opened or searched."""

from __future__ import annotations

import threading

import pytest
from hashing_embedder import HashingEmbedder
from test_retrieval_index import fill

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import loading
from medqa_tui.retrieval import manifest as files
from medqa_tui.retrieval.index import IndexManifest, build_index
from medqa_tui.retrieval.retriever import Retriever


@pytest.fixture
def store(tmp_path):
    with CorpusStore(tmp_path / "corpora.db") as store:
        fill(store)
        yield store


@pytest.fixture
def folder(store, tmp_path):
    build_index(store, HashingEmbedder(), tmp_path / "index")
    return tmp_path / "index"


def replace_index(store, folder, count):
    """Put another index in the place of the one in `folder`, whose files are deleted."""
    old = IndexManifest.read(folder).folder(folder)
    fill(store, count)
    build_index(store, HashingEmbedder(), folder)
    assert not old.exists()


def newest(retriever, number):
    found = retriever.search(f"case {number}", 5)
    assert found.notices == ()
    return f"notes:{number}#0" in {each.passage.id for each in found.evidence}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (loading.IndexManifest, "read"),
        (loading, "_load_words"),
        (loading, "load_graph"),
        (loading, "_load_dense"),
    ],
)
def test_an_index_that_is_replaced_while_it_is_opened(store, folder, monkeypatch, owner, name):
    real, done = getattr(owner, name), []

    def overtaken(*args):
        found = real(*args)
        if not done:
            done.append(True)
            replace_index(store, folder, 61)
        return found

    monkeypatch.setattr(owner, name, overtaken)
    retriever = Retriever.open(folder, store, HashingEmbedder())
    assert done
    assert retriever.manifest == IndexManifest.read(folder)
    assert newest(retriever, 60)


def test_an_embedder_that_comes_after_the_index_was_replaced(store, folder):
    retriever = Retriever.open(folder, store)
    replace_index(store, folder, 61)
    # What is open goes on.
    assert retriever.lexical("fever", 3)
    retriever.attach(HashingEmbedder())
    assert retriever.manifest.passages == 61
    assert newest(retriever, 60)


def test_an_open_index_is_searched_after_it_was_replaced(store, folder):
    retriever = Retriever.open(folder, store, HashingEmbedder())
    replace_index(store, folder, 61)
    found = retriever.search("case 12", 5)
    assert found.evidence[0].passage.id == "notes:12#0"
    assert "behind: notes has changed" in dict(found.notices)["stale_index"]
    # Another re-ranker needs nothing of it.
    retriever.attach(HashingEmbedder())
    assert newest(retriever, 60)


def test_damage_that_nobody_replaced_is_still_said(store, folder):
    path = IndexManifest.read(folder).folder(folder) / files.VECTORS_FILE
    path.unlink()
    with pytest.raises(MedQAError, match="damaged"):
        Retriever.open(folder, store, HashingEmbedder())
    retriever = Retriever.open(folder, store)
    with pytest.raises(MedQAError, match=r"vectors\.npy is missing"):
        retriever.attach(HashingEmbedder())


def test_a_reader_comes_and_goes_while_builds_follow_each_other(store, folder):
    failures, opened = [], []
    ended = threading.Event()

    def read():
        while not ended.is_set():
            try:
                retriever = Retriever.open(folder, store, HashingEmbedder())
                found = retriever.search("fever 12", 3)
                opened.append(retriever.manifest.generation)
                if (
                    not found.evidence
                    or {"damaged_index", "exact_search"} & dict(found.notices).keys()
                ):
                    failures.append(found.notices)
            except BaseException as error:
                failures.append(error)
                raise

    reader = threading.Thread(target=read)
    reader.start()
    for count in range(61, 65):
        replace_index(store, folder, count)
    ended.set()
    reader.join()
    assert failures == []
    assert opened
