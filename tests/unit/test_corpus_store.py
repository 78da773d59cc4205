import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.corpus.chunk import chunk_text
from medqa_tui.corpus.ingest import ingest_starter
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError


def record(number: int, corpus: str = "notes", text: str = "Some text.") -> PassageRecord:
    passage = Passage(f"{corpus}:{number}#0", corpus, str(number), "Title", text)
    return PassageRecord(passage, (f"phrasing {number}",))


@pytest.fixture
def store(tmp_path):
    with CorpusStore(tmp_path / "data" / "corpora.db") as store:
        yield store


def test_what_goes_in_comes_out(store):
    records = [record(n) for n in range(1203)]
    info = store.replace(CorpusInfo("notes", licence="CC0", attribution="Us"), records)
    assert list(store.records()) == records
    assert store.corpora() == (info,)
    assert (info.passages, info.licence, store.count()) == (1203, "CC0", 1203)
    assert store.get(["notes:7#0", "notes:nowhere#0"]) == {"notes:7#0": records[7].passage}


def test_a_row_that_is_kept_in_part_is_not_left_out():
    left_out = {"no text": 2, "kept without its date, which does not begin with a year": 5}
    assert CorpusInfo("notes", left_out=left_out).rows_left_out == 2


def test_a_passage_comes_with_the_revision_of_its_corpus(store):
    store.replace(CorpusInfo("notes", revision="1"), [record(1)])
    store.merge(CorpusInfo("notes", revision="2"), [record(1)])
    (read,) = store.records()
    assert read.passage.revision == "2"
    assert read.content_hash == record(1).content_hash
    assert store.get(["notes:1#0"])["notes:1#0"] == read.passage
    assert store.document("notes", "1") == (read,)


def test_the_fingerprint_follows_content_and_order(store):
    first = store.replace(CorpusInfo("notes"), [record(1), record(2)])
    same = store.replace(CorpusInfo("notes"), [record(1), record(2)])
    turned = store.replace(CorpusInfo("notes"), [record(2), record(1)])
    changed = store.replace(CorpusInfo("notes"), [record(1), record(2, text="Other text.")])
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, turned.fingerprint, changed.fingerprint}) == 3


def test_replacing_one_corpus_leaves_the_others(store):
    store.replace(CorpusInfo("a"), [record(1, "a"), record(2, "a")])
    store.replace(CorpusInfo("b"), [record(1, "b")])
    store.replace(CorpusInfo("a"), [record(3, "a")])
    assert [r.passage.id for r in store.records()] == ["a:3#0", "b:1#0"]
    assert [r.passage.id for r in store.records(("b",))] == ["b:1#0"]
    assert set(store.fingerprints()) == {"a", "b"}
    assert store.remove("a")
    assert not store.remove("a")
    assert store.count() == 1


def test_a_replacement_that_fails_changes_nothing(store):
    before = store.replace(CorpusInfo("notes"), [record(1)])

    def broken():
        yield record(2)
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        store.replace(CorpusInfo("notes"), broken())
    with pytest.raises(MedQAError, match="share an id"):
        store.replace(CorpusInfo("notes"), [record(2), record(2)])
    with pytest.raises(MedQAError, match="does not belong"):
        store.replace(CorpusInfo("notes"), [record(2, "other")])
    assert store.corpora() == (before,)
    assert [r.passage.id for r in store.records()] == ["notes:1#0"]


def test_a_killed_ingestion_leaves_the_old_corpus(tmp_path):
    path = tmp_path / "corpora.db"
    with CorpusStore(path) as store:
        before = store.replace(CorpusInfo("notes"), [record(1)])
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_corpus_store import record, CorpusInfo, CorpusStore
def records():
    for number in range(5000):
        if number == 4000:
            os.kill(os.getpid(), signal.SIGKILL)
        yield record(number)
CorpusStore(Path({str(path)!r})).replace(CorpusInfo("notes"), records())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    with CorpusStore(path) as store:
        assert store.corpora() == (before,)
        assert [r.passage.id for r in store.records()] == ["notes:1#0"]


def test_a_second_writer_is_told(store, monkeypatch):
    store.replace(CorpusInfo("notes"), [record(1)])
    monkeypatch.setattr("medqa_tui.corpus.database.BUSY_MS", 1)
    with CorpusStore(store.path) as second:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MedQAError, match="Another process"):
            second.replace(CorpusInfo("notes"), [record(2)])
        assert second.count() == 1
        other.execute("ROLLBACK")
        other.close()


def test_a_damaged_file_is_said_with_a_next_step(tmp_path):
    path = tmp_path / "corpora.db"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(MedQAError, match="damaged") as caught:
        CorpusStore(path)
    assert str(path) in caught.value.detail
    assert caught.value.hint == "medqa-tui corpus update --rebuild"


def test_a_newer_file_is_left_alone(tmp_path):
    path = tmp_path / "corpora.db"
    CorpusStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(MedQAError, match="newer"):
        CorpusStore(path)


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_the_file_is_for_its_owner_only(store):
    store.replace(CorpusInfo("notes"), [record(1)])
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_the_starter_cards_are_ingested_once(store):
    calls = []
    first = ingest_starter(store, on_progress=lambda done, total: calls.append((done, total)))
    assert first.passages == store.count() > 0
    assert calls[-1] == (first.passages, first.passages)
    assert first.licence == "CC BY 4.0"
    calls.clear()
    assert ingest_starter(store, on_progress=lambda *_: calls.append(_)) == first
    assert calls == []


def test_chunks_lose_no_word_and_stay_short():
    text = " ".join(f"Point {n} of the list is told in a sentence." for n in range(200))
    text += " " + " ".join(["endless"] * 500)
    chunks = chunk_text(text, max_words=100)
    assert " ".join(chunks).split() == text.split()
    assert max(len(chunk.split()) for chunk in chunks) <= 100
    assert chunk_text("Short.") == ["Short."]
    assert chunk_text("  ") == []
