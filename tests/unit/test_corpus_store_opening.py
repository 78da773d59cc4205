"""The passage store opened where it is old, or may only be read."""

from __future__ import annotations

import os
import sqlite3

import pytest

from medqa_tui.corpus import database, schema
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.domain import Passage
from medqa_tui.errors import MedQAError


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "home" / "corpora.db"
    passages = [Passage(f"notes:{n}#0", "notes", str(n), "Title", "Text.") for n in range(3)]
    with CorpusStore(file) as store:
        store.replace(CorpusInfo("notes"), map(PassageRecord, passages))
    return file


def test_a_store_of_the_first_version_is_kept(tmp_path):
    path = tmp_path / "corpora.db"
    db = sqlite3.connect(path, isolation_level=None)
    for statement in schema._VERSION_1.split(";"):
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO corpora VALUES ('old', 'CC0', NULL, 'r1', '2020', 'f', 2)")
    for chunk in (0, 1):
        values = (f"old:1#{chunk}", "old", "1", "T", None, f"text {chunk}", "[]", "h")
        db.execute(
            "INSERT INTO passages (id, corpus, document, title, question, text, phrasings,"
            " content_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
    db.close()
    with CorpusStore(path) as store:
        info = store.corpus("old")
        assert info == CorpusInfo("old", "CC0", None, "r1", "2020", "f", 2, documents=1)
        assert [r.passage.text for r in store.records()] == ["text 0", "text 1"]
        assert [r.passage.id for r in store.document("old", "1")] == ["old:1#0", "old:1#1"]


def test_a_store_that_may_only_be_read_is_searched_and_not_changed(file, tmp_path):
    before = file.read_bytes()
    with CorpusStore(file, read_only=True) as store:
        assert store.read_only
        assert len(list(store.records())) == 3
        with pytest.raises(MedQAError, match="read-only"):
            store.remove("notes")
    assert file.read_bytes() == before


def test_where_sqlite_can_make_no_files_of_its_own_the_store_is_read_as_it_lies(
    file, tmp_path, monkeypatch
):
    real = database._connect

    def refusing(target, uri=False):
        if str(target).endswith("mode=ro"):
            target = f"{tmp_path.as_uri()}/nowhere?mode=ro"
        return real(target, uri)

    monkeypatch.setattr(database, "_connect", refusing)
    with CorpusStore(file, read_only=True) as store:
        assert len(list(store.records())) == 3


def test_a_read_only_file_system_is_noticed(file, tmp_path, monkeypatch):
    real = os.open

    def refusing(path, flags, *args, **kwargs):
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)
    with CorpusStore(file) as store:
        assert store.read_only
        assert store.count() == 3
    with pytest.raises(MedQAError, match="could not be opened"):
        CorpusStore(tmp_path / "nowhere.db")
