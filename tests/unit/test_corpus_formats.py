"""Parquet, PDF and Anki files: the good, the locked, the empty and the broken."""

from __future__ import annotations

import builtins
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import anki_files
import pdf_files
import pytest

from medqa_tui.corpus.readers import anki, pdf, registry
from medqa_tui.corpus.readers.base import Entry, MissingLibraryError, ReadOptions, Reject, Row
from medqa_tui.corpus.readers.places import open_place


def read(path: Path) -> list[Row | Reject]:
    with open_place(path) as entries:
        (entry,) = entries
        assert isinstance(entry, Entry)
        return list(registry.read(entry, ReadOptions()))


def reasons(found: list[Row | Reject]) -> list[tuple[int, str]]:
    return [(each.line, each.reason) for each in found if isinstance(each, Reject)]


def test_parquet_rows_with_their_nested_values(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"pubid": n, "context": {"contexts": [f"a{n}", "b"]}} for n in range(600)]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = read(path)
    assert [dict(each.fields) for each in found if isinstance(each, Row)] == rows
    assert found[599].line == 600
    data = bytearray(path.read_bytes())
    data[4:400] = os.urandom(396)
    path.write_bytes(data)
    assert any("not a Parquet file that can be read" in reason for _, reason in reasons(read(path)))
    path.write_bytes(b"PAR1 and nothing more")
    assert "not a Parquet file" in reasons(read(path))[0][1]


def test_the_pages_of_a_pdf(tmp_path):
    path = pdf_files.write_pdf(tmp_path / "guide.pdf", ["First page.", "", "Third."], "A guide")
    found = read(path)
    assert [dict(each.fields) for each in found if isinstance(each, Row)] == [
        {"id": "guide.pdf/page-1", "title": "A guide, page 1", "text": "First page."},
        {"id": "guide.pdf/page-3", "title": "A guide, page 3", "text": "Third."},
    ]
    assert reasons(found) == [(2, pdf.NO_TEXT)]


def test_a_scanned_pdf_has_no_text(tmp_path):
    path = pdf_files.write_pdf(tmp_path / "scan.pdf", ["", ""])
    assert reasons(read(path)) == [(1, pdf.NO_TEXT), (2, pdf.NO_TEXT)]


def test_a_locked_pdf_is_said_and_an_empty_password_opens(tmp_path):
    path = pdf_files.lock(pdf_files.write_pdf(tmp_path / "a.pdf", ["Secret."]), "word")
    assert reasons(read(path)) == [(0, "locked by a password")]
    path = pdf_files.lock(pdf_files.write_pdf(tmp_path / "b.pdf", ["Not secret."]), "")
    (row,) = read(path)
    assert isinstance(row, Row)
    assert row.fields["text"] == "Not secret."


def test_a_broken_pdf_is_said(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4 and nothing more")
    assert reasons(read(path)) == [(0, "not a PDF that can be read")]


@pytest.mark.parametrize("write", [anki_files.write_old, anki_files.write_new])
def test_anki_notes_under_the_names_of_their_fields(tmp_path, write):
    found = read(write(tmp_path / "deck.apkg"))
    rows = [dict(each.fields) for each in found if isinstance(each, Row)]
    answer = "A disease of the airways.\nIt wheezes."
    assert rows[0] == {
        "front": "What is asthma?",
        "back": answer,
        "question": "What is asthma?",
        "answer": answer,
        "id": "guid-1",
        "tags": "lungs",
    }
    assert rows[1]["question"] == "The pancreas makes insulin."
    assert rows[1]["answer"] == ""


def test_other_files_called_apkg(tmp_path):
    path = tmp_path / "a.apkg"
    path.write_bytes(b"no zip")
    assert reasons(read(path)) == [(0, "not an Anki package that can be read")]
    for files, words in (
        ({"media": b"{}"}, "it holds no collection"),
        ({"collection.anki2": b"no database"}, "not an Anki package that can be read"),
        ({"collection.anki21b": b"no zstandard"}, "not an Anki package that can be read"),
    ):
        with zipfile.ZipFile(path, "w") as package:
            for name, data in files.items():
                package.writestr(name, data)
        assert words in reasons(read(path))[0][1]


def test_gaps_of_a_note_that_never_end_are_read_once():
    assert anki._plain("{{c1::insulin::hormone}} [sound:a.mp3]x") == "insulin x"
    text = "{{c1::" * 100_000 + "[sound:" * 100_000
    assert anki._plain(text) == text
    assert anki._plain("{{c1::" + "::" * 100_000 + "{ }}").startswith("::")


def test_an_anki_collection_whose_notes_are_a_view_is_refused(tmp_path):
    collection, path = tmp_path / "collection.db", tmp_path / "a.apkg"
    with closing(sqlite3.connect(collection)) as db:
        db.execute("CREATE TABLE col (models TEXT)")
        db.execute(
            "CREATE VIEW notes AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
            " SELECT id, id AS guid, id AS mid, '' AS tags, 'x' AS flds FROM n"
        )
        db.commit()
    with zipfile.ZipFile(path, "w") as package:
        package.write(collection, "collection.anki2")
    assert reasons(read(path)) == [(0, "not an Anki package that can be read: it holds no notes")]


@pytest.mark.parametrize(("name", "library"), [("a.parquet", "pyarrow"), ("a.pdf", "pypdf")])
def test_a_missing_library_is_named_with_the_command_that_brings_it(
    tmp_path, monkeypatch, name, library
):
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module.partition(".")[0] == library:
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / name
    path.write_bytes(b"anything")
    with pytest.raises(MissingLibraryError) as caught:
        read(path)
    assert caught.value.hint == "pip install 'medqa-tui[corpora]'"
    assert library in caught.value.detail
