"""Rows out of JSON, CSV and text files, and the reason for each row that is not taken."""

from __future__ import annotations

import errno
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.corpus.readers import registry
from medqa_tui.corpus.readers.base import (
    BAD_ENCODING,
    MAX_ROW,
    Entry,
    ReadOptions,
    Reject,
    Row,
)
from medqa_tui.corpus.readers.json_file import KEY

QA = {"question": "What is asthma?", "answer": "A disease of the airways."}


def entry(path: Path) -> Entry:
    return Entry(path.name, path.stat().st_size, lambda: path.open("rb"), path)


def read(tmp_path: Path, name: str, data: bytes | str, encoding: str = "") -> list[Row | Reject]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(registry.read(entry(path), ReadOptions(encoding)))


def fields(found: list[Row | Reject]) -> list[dict[str, object]]:
    assert all(isinstance(each, Row) for each in found), found
    return [dict(each.fields) for each in found]


def reasons(found: list[Row | Reject]) -> list[tuple[int, str]]:
    return [(each.line, each.reason) for each in found if isinstance(each, Reject)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.md", "a.txt", "a.pdf", "a.xml"])
def test_an_empty_file_is_said(tmp_path, name):
    assert reasons(read(tmp_path, name, b"")) == [(0, "an empty file")]


def test_an_unknown_kind_of_file_is_said(tmp_path):
    (found,) = read(tmp_path, "photo.png", b"\x89PNG")
    assert found == Reject("photo.png", 0, registry.UNKNOWN)


def test_lines_of_json_and_each_bad_one(tmp_path):
    lines = [json.dumps(QA), "", "{broken", "[1, 2]", "[" * 100_000, json.dumps(QA)]
    found = read(tmp_path, "a.jsonl", "\n".join(lines))
    assert [each.line for each in found if isinstance(each, Row)] == [1, 6]
    assert reasons(found) == [
        (3, "not valid JSON"),
        (4, "not a JSON object"),
        (5, "not valid JSON"),
    ]


def test_gzip_is_unpacked_and_a_broken_one_is_said(tmp_path):
    packed = gzip.compress(json.dumps(QA).encode())
    assert fields(read(tmp_path, "a.jsonl.gz", packed)) == [QA]
    found = read(tmp_path, "b.jsonl.gz", packed[:-9])
    assert reasons(found) == [(0, "a file that cannot be read")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps([QA, QA]), [QA, QA]),
        (json.dumps({"1": QA, "2": QA}), [{KEY: "1", **QA}, {KEY: "2", **QA}]),
        (json.dumps({"version": 1, "data": [QA]}), [QA]),
        (json.dumps(QA), [QA]),
        (json.dumps(QA, indent=2), [QA]),
        (json.dumps({**QA, "contexts": ["a", "b"]}), [{**QA, "contexts": ["a", "b"]}]),
        (f"{json.dumps(QA)}\n{json.dumps(QA)}\n", [QA, QA]),
    ],
)
def test_the_shapes_of_json(tmp_path, text, expected):
    assert fields(read(tmp_path, "a.json", text)) == expected


def test_long_json_is_read_a_value_at_a_time(tmp_path):
    rows = [{"answer": f"{n} " + "word " * 2000} for n in range(200)]
    found = read(tmp_path, "a.json", json.dumps(rows))
    assert fields(found) == rows


@pytest.mark.parametrize("text", ["[1", '[{"a": 1}', '{"a": ', "nonsense", '[{"a": 1} {"b": 2}]'])
def test_broken_json_is_said(tmp_path, text):
    found = read(tmp_path, "a.json", text)
    assert [each for each in found if isinstance(each, Reject)]


def test_bytes_that_are_no_text_inside_a_json_object(tmp_path):
    found = read(tmp_path, "a.json", b'{"1": {"answer": "\xff"}, "2": {"answer": "A"}}')
    assert reasons(found) == [(1, BAD_ENCODING)]
    assert fields(found[1:]) == [{KEY: "2", "answer": "A"}]
    found = read(tmp_path, "b.json", b'{"answer": "\xff", "question": "Q"}')
    assert reasons(found) == [(1, BAD_ENCODING)]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_csv_whose_first_line_is_no_header(tmp_path, ending):
    found = read(tmp_path, f"a.{ending}", b"a" * (MAX_ROW + 1) + b"\nb\n")
    assert reasons(found) == [(0, "not valid CSV: a line is longer than 16 MB")]


def test_a_header_of_a_million_columns_is_read_at_once(tmp_path):
    names = ",".join(map(str, range(1_000_000)))
    (found,) = read(tmp_path, "a.csv", f"{names},7\nb\n")
    assert found.reason == "two columns are called '7'"


def test_what_a_reader_stumbles_over_is_a_reject_but_a_full_disk_is_not(tmp_path, monkeypatch):
    def broken(entry, options):
        raise errors.pop()

    errors = [OSError(errno.ENOSPC, "No space left on device"), KeyError("x")]
    monkeypatch.setattr(registry, "_reader", lambda name: broken)
    assert reasons(read(tmp_path, "a.txt", "x")) == [(0, "a file that cannot be read")]
    with pytest.raises(OSError, match="No space"):
        read(tmp_path, "a.txt", "x")


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_two_gigabytes_on_one_line_stay_out_of_memory(tmp_path, ending):
    path = tmp_path / f"huge.{ending}"
    opening = {"jsonl": '{"answer": "', "json": '[{"answer": "', "csv": 'answer\n"'}[ending]
    with path.open("wb") as file:
        file.write(opening.encode() + b"a" * 8192)
        # A hole: zeros that take no space on the disk.
        file.truncate(2 << 30)
    code = f"""
import resource, sys
from pathlib import Path
from medqa_tui.corpus.readers import registry
from medqa_tui.corpus.readers.base import Entry, ReadOptions
path = Path({str(path)!r})
entry = Entry(path.name, path.stat().st_size, lambda: path.open("rb"), path)
for found in registry.read(entry, ReadOptions()):
    print(found.reason, found.detail)
# Of this program alone: ru_maxrss begins with what the process that started it had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, megabytes = done.stdout.splitlines()
    assert "longer than 16 MB" in " ".join(said)
    assert int(megabytes) < 500


def test_other_encodings(tmp_path):
    line = json.dumps({"answer": "Sjögren-Syndrom"}, ensure_ascii=False)
    assert reasons(read(tmp_path, "a.jsonl", f"{line}\n".encode("latin-1"))) == [
        (1, "not valid UTF-8 (give its encoding: --encoding latin-1)")
    ]
    expected = [{"answer": "Sjögren-Syndrom"}]
    assert fields(read(tmp_path, "b.jsonl", line.encode("latin-1"), "latin-1")) == expected
    assert fields(read(tmp_path, "c.jsonl", line.encode("utf-8-sig"))) == expected
    assert fields(read(tmp_path, "d.jsonl", line.encode("utf-16"))) == expected
    assert fields(read(tmp_path, "e.jsonl", line.encode("utf-16-le"), "utf-16-le")) == expected
    (found,) = read(tmp_path, "f.jsonl", line.encode("utf-16-le"))
    assert "--encoding utf-16" in found.reason
    for name in ("klingon", "hex"):
        (found,) = read(tmp_path, "g.jsonl", line, name)
        assert found.reason == f"there is no encoding called {name}"


def test_one_row_of_another_encoding_costs_that_row_only(tmp_path):
    data = b"question,answer\nfirst,good\nsecond,Sj\xf6gren\nthird,good\n"
    found = read(tmp_path, "a.csv", data)
    assert [each.line for each in found if isinstance(each, Row)] == [2, 4]
    assert reasons(found) == [(3, "not valid UTF-8 (give its encoding: --encoding latin-1)")]


def test_csv_with_line_breaks_in_its_cells(tmp_path):
    text = 'front;back\r\n"one";"first line\r\nsecond ""line"""\r\n\r\ntwo;"x;y"\r\n'
    found = read(tmp_path, "a.csv", text)
    assert fields(found) == [
        {"front": "one", "back": 'first line\r\nsecond "line"'},
        {"front": "two", "back": "x;y"},
    ]
    assert [each.line for each in found] == [2, 5]


def test_tsv_and_what_is_wrong_with_tables(tmp_path):
    assert fields(read(tmp_path, "a.tsv", "q\ta\n1, 2\tx\n")) == [{"q": "1, 2", "a": "x"}]
    assert reasons(read(tmp_path, "b.csv", "q,a\n1,2,3\n4,5\n")) == [(2, "more cells than columns")]
    assert reasons(read(tmp_path, "c.csv", "q,q\n1,2\n")) == [(0, "two columns are called 'q'")]
    assert reasons(read(tmp_path, "d.csv", ",\n1,2\n")) == [
        (0, "the first line holds no column names")
    ]
    assert reasons(read(tmp_path, "e.csv", "q,a\n")) == [(0, "a file without rows")]
    assert fields(read(tmp_path, "f.csv", "q,a\nonly\n")) == [{"q": "only"}]


def test_text_is_a_document_and_binary_is_not_text(tmp_path):
    (found,) = read(tmp_path, "my_notes.txt", "First.\n\nSecond.")
    assert found.fields == {"id": "my_notes.txt", "title": "my notes", "text": "First.\n\nSecond."}
    (found,) = read(tmp_path, "b.txt", b"\x00\x01\x02")
    assert found.reason.startswith("not text")


def test_markdown_becomes_sections_without_markup(tmp_path):
    text = """---
title: Ward notes
license: CC0
url: https://example.org/ward
unknown: x
---
Before any heading, with **bold** and a [link](https://example.org/x).

# Asthma

Wheezing,
and <b>cough</b>.

- one
- two

## Treatment

| drug | dose |
|------|------|
| a    | 1 mg |

# Asthma

Again.
"""
    found = read(tmp_path, "ward.md", text)
    rows = fields(found)
    assert [row["title"] for row in rows] == [
        "Ward notes",
        "Asthma",
        "Asthma > Treatment",
        "Asthma",
    ]
    assert rows[0]["text"] == "Before any heading, with bold and a link.\n\n"
    assert rows[1]["text"] == "Wheezing, and cough.\n\n- one\n- two\n"
    assert "a | 1 mg" in str(rows[2]["text"])
    assert len({row["id"] for row in rows}) == 4
    assert {row["licence"] for row in rows} == {"CC0"}
    assert {row["url"] for row in rows} == {"https://example.org/ward"}
    assert [each.line for each in found] == [1, 9, 17, 23]


def test_an_entry_can_be_opened_again(tmp_path):
    made = Entry("a.jsonl", 4, lambda: io.BytesIO(b"{}\n{}"))
    assert len(list(registry.read(made, ReadOptions()))) == 2
