"""Archives, folders and XML from strangers: nothing leaves them, nothing unpacks without end."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from medqa_tui.corpus.git_tree import tree_hash
from medqa_tui.corpus.readers import medquad, registry
from medqa_tui.corpus.readers.base import BOMB, Entry, ReadOptions, Reject, Row
from medqa_tui.corpus.readers.places import open_place
from medqa_tui.errors import UsageError

QA = '{"question": "q", "answer": "a"}\n'

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000007" source="NIDDK" url="https://example.org/page">
<Focus>Hiccups</Focus>
<FocusAnnotations><Synonyms><Synonym>Singultus</Synonym></Synonyms></FocusAnnotations>
<QAPairs>
  <QAPair pid="1">
    <Question qid="0000007-1" qtype="information">What is (are) Hiccups ?</Question>
    <Answer>Key points
                    - A spasm.    - It passes.

                Most pass   &quot;soon&quot;.</Answer>
  </QAPair>
  <QAPair pid="2"><Question qid="0000007-2" qtype="causes">Why?</Question><Answer/></QAPair>
  <QAPair pid="3"><Question qid="0000007-3" qtype="causes"> </Question><Answer>a</Answer></QAPair>
</QAPairs>
</Document>
"""


def read_place(path: Path) -> list[Row | Reject]:
    found: list[Row | Reject] = []
    with open_place(path) as entries:
        for each in entries:
            if isinstance(each, Reject):
                found.append(each)
            else:
                found.extend(registry.read(each, ReadOptions()))
    return found


def rejected(found: list[Row | Reject]) -> dict[str, str]:
    return {each.where: each.reason for each in found if isinstance(each, Reject)}


def test_a_zip_is_read_without_unpacking_it(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sub/b.jsonl", QA)
        archive.writestr("a.jsonl", QA)
        archive.writestr(".hidden.jsonl", QA)
        archive.writestr("photo.png", "x")
    found = read_place(path)
    assert [each.where for each in found if isinstance(each, Row)] == ["a.jsonl", "sub/b.jsonl"]
    assert rejected(found) == {"photo.png": registry.UNKNOWN}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    ["../evil.jsonl", "/etc/evil.jsonl", "a/../../evil.jsonl", "..\\evil.jsonl", "C:/e.jsonl", "."],
)
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name):
    path = tmp_path / "in" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, QA)
        archive.writestr("good.jsonl", QA)
    found = read_place(path)
    assert rejected(found) == {name: "a name that leads out of the archive"}
    assert [each.where for each in found if isinstance(each, Row)] == ["good.jsonl"]
    assert not list(tmp_path.rglob("*evil*"))


def test_links_in_an_archive_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert rejected(read_place(path)) == {"link.jsonl": "a link in an archive"}


def test_bombs_are_refused_before_they_unfold(tmp_path):
    zeros = b"0" * (64 << 20)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jsonl", zeros)
        archive.writestr("good.jsonl", QA)
    found = read_place(path)
    assert rejected(found) == {"bomb.jsonl": BOMB}
    assert len(found) == 2
    packed = tmp_path / "b.txt.gz"
    packed.write_bytes(gzip.compress(zeros))
    assert rejected(read_place(packed)) == {"b.txt.gz": "a file longer than 16 MB"}
    lines = tmp_path / "c.jsonl.gz"
    with gzip.open(lines, "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(b"{}\n" + b" " * (1 << 20))
    assert BOMB in rejected(read_place(lines)).values()


def test_a_list_that_lies_about_its_sizes_gives_no_more_than_it_says(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"word " * 100_000)
    data = bytearray(path.read_bytes())
    # The uncompressed size in the central directory.
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    found = read_place(path)
    assert all(isinstance(each, Reject) or len(each.fields["text"]) <= 100 for each in found)


def test_broken_archives_and_missing_places_are_said(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UsageError, match="no zip archive"):
        read_place(path)
    with pytest.raises(UsageError, match="no such file"):
        read_place(tmp_path / "nowhere")


def test_a_folder_is_read_in_order_and_never_left(tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_text(QA)
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "b.jsonl").write_text(QA)
    (root / "sub" / "a.jsonl").write_text(QA)
    (root / ".git").mkdir()
    (root / ".git" / "c.jsonl").write_text(QA)
    (root / "out.jsonl").symlink_to(outside)
    (root / "in.jsonl").symlink_to(root / "b.jsonl")
    os.mkfifo(root / "pipe.jsonl")
    found = read_place(root)
    rows = [each.where for each in found if isinstance(each, Row)]
    assert rows == ["b.jsonl", "in.jsonl", "sub/a.jsonl"]
    assert rejected(found) == {
        "out.jsonl": "a link that leads out of the source",
        "pipe.jsonl": "not a file",
    }


def test_medquad_documents_are_read_with_the_ids_of_the_judgements(tmp_path):
    path = tmp_path / "0000007.xml"
    path.write_text(DOCUMENT)
    row, *rest = read_place(path)
    assert isinstance(row, Row)
    assert dict(row.fields) == {
        "source": "NIDDK",
        "url": "https://example.org/page",
        "focus": "Hiccups",
        "synonyms": ["Singultus"],
        "id": "NIDDK_0000007_Sec1",
        "question": "What is (are) Hiccups?",
        "answer": 'Key points\n- A spasm.\n- It passes.\n\nMost pass\n"soon".',
        "qtype": "information",
    }
    assert [(each.line, each.reason) for each in rest if isinstance(each, Reject)] == [
        (2, medquad.NO_ANSWER),
        (3, medquad.NO_QUESTION),
    ]


def test_the_older_forms_of_medquad_documents(tmp_path):
    (tmp_path / "0000018_1.xml").write_text(
        '<doc docid="0000018" corpus="NINDS" url="u"><doctitle-focus>ALS</doctitle-focus><qaPairs>'
        '<pair pid="3"><question>what is it ?</question><answer>A disease.</answer></pair>'
        "</qaPairs></doc>"
    )
    (row,) = read_place(tmp_path)
    assert isinstance(row, Row)
    assert (row.fields["id"], row.fields["focus"]) == ("NINDS_0000018_1_Sec3", "ALS")
    assert (row.fields["question"], row.fields["answer"]) == ("what is it?", "A disease.")


def test_long_runs_of_spaces_in_xml_are_read_once(tmp_path):
    spaces = " " * 400_000
    (tmp_path / "a.xml").write_text(
        f"<Document source='s' url='u'><Focus>F</Focus><QAPairs><QAPair pid='1'><Question>Q{spaces}"
        f"x ?</Question><Answer>A{spaces}b{spaces}- c</Answer></QAPair></QAPairs></Document>"
    )
    (row,) = read_place(tmp_path)
    assert row.fields["answer"] == "A\nb\n- c"
    assert row.fields["question"].endswith("x?")


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE d [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><Document>&b;</Document>',
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>',
    ],
)
def test_xml_with_entities_is_refused(tmp_path, head):
    path = tmp_path / "a.xml"
    path.write_text(head)
    assert rejected(read_place(path)) == {"a.xml": "XML with entities or a document type: refused"}


def test_other_xml_is_said(tmp_path):
    for name, text in (("a.xml", "<Document>"), ("b.xml", "<other/>")):
        (tmp_path / name).write_text(text)
    assert set(rejected(read_place(tmp_path)).values()) == {
        "not valid XML",
        "not a MedQuAD document",
    }


def test_the_tree_hash_is_that_of_git(tmp_path):
    root = tmp_path / "repo"
    (root / "a").mkdir(parents=True)
    (root / "a.txt").write_text("one\n")
    (root / "a" / "b.txt").write_text("two\n")
    (root / "a0").write_text("three\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *args], check=True)
    path = tmp_path / "a.zip"
    archive = [*git, "archive", "--format=zip", "--prefix=repo-1/", f"--output={path}", "HEAD"]
    subprocess.run(archive, check=True)
    tree = subprocess.run(
        [*git, "rev-parse", "HEAD^{tree}"], check=True, capture_output=True, text=True
    )
    assert tree_hash(path) == tree.stdout.strip()
    with zipfile.ZipFile(path, "a") as changed:
        changed.writestr("repo-1/more.txt", "x")
    assert tree_hash(path) not in (None, tree.stdout.strip())
    (tmp_path / "b.zip").write_bytes(b"no zip")
    assert tree_hash(tmp_path / "b.zip") is None


def test_an_archive_that_is_damaged_or_odd_has_no_tree_hash(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("top/a.txt", "words and more of them " * 50)
    data = bytearray(path.read_bytes())
    at = data.index(b"top/a.txt") + len("top/a.txt")
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert tree_hash(path) is None
    for names in (("top/a", "top/a/b"), ("top/" + "a/" * 3000 + "b",), ("",)):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), "x")
        assert tree_hash(path) is None


def test_the_json_of_an_entry_in_an_archive_is_read_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps({"1": {"answer": "x"}}))
    (row,) = read_place(path)
    assert isinstance(row, Row)
    assert isinstance(Entry("a", 0, lambda: path.open("rb")).suffix, str)
