"""Corpora added, read again, removed and rebuilt; killed, refused and damaged on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medqa_tui.corpus.columns import Columns
from medqa_tui.corpus.ingest import ingest_starter
from medqa_tui.corpus.library import CorpusLibrary, Terms
from medqa_tui.corpus.names import source_of
from medqa_tui.corpus.pipeline import EXACT, SAME_ID, IngestCancelled
from medqa_tui.corpus.sources import Source
from medqa_tui.corpus.store import Change, CorpusStore
from medqa_tui.errors import DownloadError, MedQAError, UsageError
from medqa_tui.paths import Paths, ensure

SECRET = "xylophonesecret"


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


@pytest.fixture
def paths(tmp_path):
    return paths_of(tmp_path / "home")


@pytest.fixture
def library(paths):
    return CorpusLibrary(paths)


def write(path: Path, texts: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("nr", "front", "back"))
        rows.writerows((id, f"Question {id}?", text) for id, text in texts.items())
    return path


def texts(count: int) -> dict[str, str]:
    return {f"d{n}": f"Text of number {n}, which is a sentence." for n in range(count)}


def source(path: Path, **extra: object) -> Source:
    return Source(path, columns=Columns(question="front", answer="back", id="nr"), **extra)


def stored(paths: Paths, name: str = "notes") -> dict[str, str]:
    with CorpusStore(paths.corpora / "corpora.db") as store:
        return {r.passage.document: r.passage.text for r in store.records((name,))}


def test_a_corpus_is_added_with_its_terms_and_what_was_left_out(paths, library, tmp_path):
    rows = {**texts(3), "empty": " "}
    path = write(tmp_path / "a.csv", rows)
    with path.open("a") as file:
        file.write("d0,Again?,Other text.\nx,Question d1?,text of NUMBER 1 which is a sentence\n")
    outcome = library.add("notes", source(path), Terms("CC0", "The ward", "2020"))
    assert outcome.change == Change(3, 0, 0, 0)
    assert stored(paths) == texts(3)
    info = outcome.info
    assert (info.licence, info.attribution, info.date) == ("CC0", "The ward", "2020")
    assert (info.documents, info.passages) == (3, 3)
    assert dict(info.left_out) == {"no text": 1, SAME_ID: 1, EXACT: 1}
    header, *lines = outcome.rejects.read_text().splitlines()
    assert header == "file\tline\treason\tdetail"
    assert lines == ["a.csv\t5\tno text\t", f"a.csv\t6\t{SAME_ID}\td0", f"a.csv\t7\t{EXACT}\td1"]
    with CorpusStore(library.file) as store:
        assert store.corpus("notes") == info
        passage = store.get(["notes:d0#0"])["notes:d0#0"]
        assert (passage.licence, passage.source, passage.date) == ("CC0", "The ward", "2020")
    assert source_of(info) == source(path)


def test_only_what_differs_is_written_again(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", texts(300))
    first = library.add("notes", source(path))
    assert library.add("notes", source(path)).change == Change(0, 0, 0, 300)
    assert library.update("notes").info == first.info
    changed = {**texts(400), "d7": "Quite another text."}
    del changed["d9"]
    write(path, changed)
    second = library.update("notes")
    assert second.change == Change(100, 1, 1, 298)
    assert stored(paths) == changed
    assert second.info.fingerprint != first.info.fingerprint
    with sqlite3.connect(library.file) as db:
        # Rows that did not change were not touched: they stand where they stood.
        assert [s for (s,) in db.execute("SELECT seq FROM passages WHERE document = 'd8'")] == [9]


def test_the_terms_stay_when_nothing_else_is_said(library, tmp_path):
    path = write(tmp_path / "a.csv", texts(1))
    library.add("notes", source(path), Terms("CC0", "The ward"))
    write(path, texts(2))
    info = library.update("notes").info
    assert (info.licence, info.attribution) == ("CC0", "The ward")
    info = library.add("notes", source(path), Terms(licence="CC BY 4.0")).info
    assert (info.licence, info.attribution) == ("CC BY 4.0", "The ward")


def test_an_update_can_be_read_from_elsewhere(paths, library, tmp_path):
    library.add("notes", source(write(tmp_path / "a.csv", texts(2))))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(UsageError, match="no such file"):
        library.update("notes")
    moved = write(tmp_path / "b.csv", texts(3))
    library.update("notes", moved)
    assert stored(paths) == texts(3)
    assert library.update("notes").change.is_empty


def test_names_and_sources_that_cannot_be_used(library, tmp_path):
    path = write(tmp_path / "a.csv", texts(1))
    for name in ("starter", "Big", "a/b", "", "a:b", "x" * 65):
        with pytest.raises(UsageError):
            library.add(name, source(path))
    library.add("notes", source(path))
    with pytest.raises(UsageError, match="from another source"):
        library.add("notes", source(write(tmp_path / "b.csv", texts(1))))
    with pytest.raises(UsageError, match="no such corpus"):
        library.update("other")
    with pytest.raises(UsageError, match="stays"):
        library.remove("starter")


def test_a_source_without_anything_usable_changes_nothing(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", texts(2))
    library.add("notes", source(path))
    write(path, {"a": "", "b": " "})
    with pytest.raises(UsageError, match="Nothing in the source") as caught:
        library.update("notes")
    assert "no text (2)" in caught.value.detail
    assert stored(paths) == texts(2)
    with pytest.raises(UsageError, match="no such column"):
        library.add("notes", Source(path, columns=Columns(answer="wrong")))
    assert stored(paths) == texts(2)


def test_a_preview_stores_nothing(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", texts(9))
    seen = library.preview("notes", source(path), Terms("CC0"), 2)
    assert [each.passage.id for each in seen.passages] == ["notes:d0#0", "notes:d1#0"]
    assert {each.passage.licence for each in seen.passages} == {"CC0"}
    assert not paths.data.exists()


def test_removing_removes_every_trace_of_the_text(paths, library, tmp_path):
    rows = {**texts(50), "secret": f"The {SECRET} is here. " * 400}
    library.add("notes", source(write(tmp_path / "a.csv", rows)))
    with CorpusStore(library.file) as reader:
        # A reader that stays open, as an engine does.
        assert reader.count() > 50
        library.remove("notes")
        assert reader.corpora() == ()
        found = [
            path
            for path in paths.data.rglob("*")
            if path.is_file() and SECRET.encode() in path.read_bytes()
        ]
    assert found == []
    assert not list(paths.corpora.rglob("notes*"))
    assert json.loads((paths.corpora / "sources.json").read_text()) == []


def test_a_text_that_is_being_read_is_said_to_be_there_and_leaves_with_the_next_update(
    paths, library, tmp_path, monkeypatch
):
    monkeypatch.setattr("medqa_tui.corpus.database.BUSY_MS", 1)
    with CorpusStore(library.file) as store:
        ingest_starter(store)
    library.add("notes", source(write(tmp_path / "a.csv", {"d": f"The {SECRET}."})))
    other = sqlite3.connect(library.file, isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM passages").fetchone()[0] > 1
    library.remove("notes")
    assert not library.wiped
    wal = Path(f"{library.file}-wal")
    assert SECRET.encode() in library.file.read_bytes() + wal.read_bytes()
    other.execute("ROLLBACK")
    # It stays open, so that nobody's leaving empties the log.
    again = CorpusLibrary(paths)
    assert again.update("starter").change.is_empty
    assert again.wiped
    assert SECRET.encode() not in library.file.read_bytes() + wal.read_bytes()
    other.close()


def test_what_a_killed_process_left_of_a_corpus_goes_with_it(paths, library, tmp_path):
    library.add("notes", source(write(tmp_path / "a.csv", {"d": f"The {SECRET}."})))
    rejects = ensure(paths.corpora / "left-out") / "notes.tsv.new"
    rejects.write_text(SECRET)
    library.file.with_name("corpora.db.new").write_bytes(library.file.read_bytes())
    library.remove("notes")
    assert library.wiped
    files = [each for each in paths.data.rglob("*") if each.is_file()]
    assert not any(SECRET.encode() in each.read_bytes() for each in files)


def test_a_changed_text_leaves_no_trace_of_the_old_one(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", {**texts(5), "d3": f"The {SECRET}."})
    library.add("notes", source(path))
    write(path, texts(5))
    library.update("notes")
    files = [each for each in paths.corpora.rglob("*") if each.is_file()]
    assert not any(SECRET.encode() in each.read_bytes() for each in files)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_corpus_library import *
owner, name, when, count = {owner}, {name!r}, {when!r}, {count}
real, calls = getattr(owner, name), 0
def killing(*args, **kwargs):
    global calls
    calls += 1
    if when == "before" and calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **kwargs)
    if when == "after" and calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, killing)
CorpusLibrary(paths_of(Path({home!r}))).add("notes", source(Path({path!r})), Terms("CC0"))
"""


@pytest.mark.parametrize(
    ("owner", "name", "when", "count"),
    [
        ("CorpusStore", "_insert", "before", 1),
        ("CorpusStore", "_insert", "after", 2500),
        ("CorpusStore", "_seal", "before", 1),
        ("CorpusStore", "merge", "after", 1),
        ("CorpusLibrary", "_remember", "before", 1),
        ("CorpusLibrary", "_remember", "after", 1),
        ("os", "fsync", "after", 1),
        ("Path", "replace", "before", 1),
    ],
)
def test_killed_anywhere_the_same_command_goes_on(tmp_path, owner, name, when, count):
    home = tmp_path / "home"
    paths = paths_of(home)
    path = write(tmp_path / "a.csv", {**texts(200), "bad": ""})
    CorpusLibrary(paths).add("notes", source(path), Terms("CC0"))
    rows = {**texts(3000), "bad": "", "d1": "Changed."}
    write(path, rows)
    code = KILLED.format(
        tests=str(Path(__file__).parent),
        owner=owner,
        name=name,
        when=when,
        count=count,
        home=str(home),
        path=str(path),
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    del rows["bad"]
    # Never half of it: the old corpus or the new one.
    assert stored(paths) in (texts(200), rows)
    CorpusLibrary(paths).add("notes", source(path), Terms("CC0"))
    assert stored(paths) == rows
    with CorpusStore(paths.corpora / "corpora.db") as store:
        assert store.problems() == []
        assert dict(store.corpus("notes").left_out) == {"no text": 1}
    assert len((paths.corpora / "left-out" / "notes.tsv").read_text().splitlines()) == 2
    assert "notes" in (paths.corpora / "sources.json").read_text()


def test_cancelling_changes_nothing(paths, tmp_path):
    path = write(tmp_path / "a.csv", texts(10))
    CorpusLibrary(paths).add("notes", source(path))
    write(path, texts(3000))
    cancel = threading.Event()
    library = CorpusLibrary(paths, on_progress=lambda *_: cancel.set(), cancel=cancel)
    with pytest.raises(IngestCancelled) as caught:
        library.update("notes")
    assert caught.value.exit_code == 130
    assert stored(paths) == texts(10)


def test_a_full_disk_is_said_and_changes_nothing(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", texts(10))
    library.add("notes", source(path))
    with CorpusStore(library.file) as store:
        db = store._db.connection
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 4}")
        write(path, texts(3000))
        with pytest.raises(MedQAError, match="disk is full"):
            library._ingest(store, "notes", source(path), Terms())
        assert store.corpus("notes").passages == 10
    assert stored(paths) == texts(10)
    library.update("notes")
    assert stored(paths) == texts(3000)


def test_two_writers_one_is_told(paths, library, tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", texts(3))
    library.add("notes", source(path))
    monkeypatch.setattr("medqa_tui.corpus.database.BUSY_MS", 1)
    other = sqlite3.connect(library.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write(path, texts(4))
    with pytest.raises(MedQAError, match="Another process is writing"):
        library.update("notes")
    other.execute("ROLLBACK")
    other.close()
    assert stored(paths) == texts(3)


def test_a_damaged_store_is_said_and_rebuilt_from_what_is_remembered(paths, library, tmp_path):
    with CorpusStore(library.file) as store:
        ingest_starter(store)
        starter = store.fingerprints()["starter"]
    path = write(tmp_path / "a.csv", texts(500))
    library.add("notes", source(path), Terms("CC0"))
    gone = write(tmp_path / "b.csv", texts(2))
    library.add("gone", source(gone))
    gone.unlink()
    data = bytearray(library.file.read_bytes())
    for at in range(8192, len(data) - 4096, 4096):
        data[at : at + 200] = os.urandom(200)
    library.file.write_bytes(data)
    with CorpusStore(library.file) as store:
        assert store.problems()
        with pytest.raises(MedQAError, match="damaged") as caught:
            list(store.records())
    assert caught.value.hint == "medqa-tui corpus update --rebuild"
    outcomes, failures = library.rebuild()
    assert [outcome.info.name for outcome in outcomes] == ["notes"]
    assert set(failures) == {"gone"}
    assert stored(paths) == texts(500)
    with CorpusStore(library.file) as store:
        assert store.problems() == []
        assert store.fingerprints()["starter"] == starter
        assert store.corpus("notes").licence == "CC0"
    # It is remembered still, for when its file is back, and whatever is done to others meanwhile.
    library.add("other", source(write(tmp_path / "c.csv", texts(1))))
    library.remove("other")
    write(gone, texts(2))
    _, failures = library.rebuild()
    assert failures == {}
    assert stored(paths, "gone") == texts(2)


def test_a_rebuild_takes_over_what_cannot_be_read_again(paths, library, tmp_path):
    path = write(tmp_path / "a.csv", texts(5))
    before = library.add("notes", source(path), Terms("CC0")).info
    path.unlink()
    outcomes, failures = library.rebuild()
    assert failures["notes"].title.startswith("It was taken over from the old store")
    assert stored(paths) == texts(5)
    (info,) = (outcome.info for outcome in outcomes)
    assert (info.fingerprint, info.licence, info.origin) == (
        before.fingerprint,
        "CC0",
        before.origin,
    )


def test_no_database_at_all_is_rebuilt_too(paths, library, tmp_path):
    library.add("notes", source(write(tmp_path / "a.csv", texts(2))))
    library.file.write_bytes(b"this is no database at all" * 100)
    library.rebuild()
    assert stored(paths) == texts(2)


def test_offline_a_data_set_is_not_fetched(paths):
    library = CorpusLibrary(paths, offline=True)
    with pytest.raises(DownloadError) as caught:
        library.add("medquad", Source(builtin="medquad"))
    assert caught.value.hint == "medqa-tui corpus add medquad --from FILE"


def test_a_source_that_may_not_be_read_is_said(library, tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", texts(1))

    def refusing(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("medqa_tui.corpus.pipeline.sha256_file", refusing)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        library.add("notes", source(path))
    assert caught.value.detail == f"{path}: Permission denied."
