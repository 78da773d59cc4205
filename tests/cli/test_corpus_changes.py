"""`corpus add`, `update`, `remove`, `list`, `export` as a shell sees them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.models.active import Active
from medqa_tui.models.catalog import get_profile
from medqa_tui.retrieval.index import build_index, verify_index
from medqa_tui.setup.lock import lock_file

from .conftest import Program, clean_environment, program_in
from .small_home import CountingEmbedder, paths_of


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "my cards.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("front", "back", "nr"))
        rows.writerow(("What is a glorp?", "A glorp is\nan organ of the flurb.", "g1"))
        rows.writerow(("Is it \x1b[31mred?", "It is \u202egreen.", "g2"))
        rows.writerow(("Empty?", "", "g3"))
    return path


def add(table: Path, *more: str) -> tuple[str, ...]:
    columns = ("--question", "front", "--answer", "back", "--id", "nr")
    return ("corpus", "add", "notes", "--from", str(table), *columns, *more)


def test_a_preview_shows_the_first_rows_and_stores_nothing(
    medqa: Program, home: Path, table: Path
) -> None:
    done = medqa(*add(table, "--preview", "--license", "CC0"))
    assert done.returncode == 0, done.stderr
    for words in ("notes", "What is a glorp?", "A glorp is\nan organ of the flurb.", "CC0"):
        assert words in done.stdout
    assert "Nothing was stored." in done.stderr
    assert "1 rows: no text" in done.stderr
    record = json.loads(medqa(*add(table, "--preview", "-n", "1", "--json")).stdout)
    (shown,) = record["preview"]
    assert (shown["document"], shown["id"]) == ("g1", "g1#0")
    assert not (home / "data" / "corpora").exists()


def test_the_life_of_a_corpus(medqa: Program, home: Path, table: Path, tmp_path: Path) -> None:
    terms = ("--license", "CC0", "--attribution", "The ward", "--date", "2024-05-01")
    done = medqa(*add(table, *terms))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for words in (
        "2 passages of 2 documents (2 new, 0 changed, 0 removed)",
        "Licence: CC0. By: The ward.",
        "Date: 2024-05-01.",
        "1 rows: no text",
        str(home / "data" / "corpora" / "left-out" / "notes.tsv"),
        "medqa-tui setup",
    ):
        assert words in done.stderr
    (row,) = json.loads(medqa("corpus", "list", "--json").stdout)["corpora"]
    assert (row["corpus"], row["passages"], row["licence"]) == ("notes", 2, "CC0")
    assert row["from"] == str(table)
    assert row["revision"].startswith("sha256:")
    listed = medqa("corpus", "list")
    assert "notes" in listed.stdout
    assert "Known by name: medquad" in listed.stderr

    shown = medqa("corpus", "show", "notes", "g1").stdout
    for words in ("What is a glorp?", "an organ of the flurb", "CC0", "The ward", "2024-05-01"):
        assert words in shown
    assert "\x1b" not in shown
    assert "g2" in medqa("corpus", "show", "notes").stdout
    figures = json.loads(medqa("corpus", "stats", "notes", "--json").stdout)
    assert figures["figures"]["licences"] == [["CC0", 2]]
    assert "no text" in medqa("corpus", "stats", "notes").stdout

    lines = medqa("corpus", "export", "notes").stdout.splitlines()
    assert [json.loads(line)["document"] for line in lines] == ["g1", "g2"]
    out = tmp_path / "out.jsonl"
    assert medqa("corpus", "export", "notes", "--out", str(out)).returncode == 0
    assert out.read_text().count("\n") == 2
    again = medqa("corpus", "add", "copy", "--from", str(out), "--no-index")
    assert "2 passages of 2 documents" in again.stderr

    with table.open("a", newline="") as file:
        file.write("New?,Yes.,g4\r\n")
    updated = json.loads(medqa("corpus", "update", "notes", "--no-index", "--json").stdout)
    (row,) = updated["corpora"]
    assert (row["added"], row["changed"], row["removed"], row["unchanged"]) == (1, 0, 0, 2)
    assert updated["indexed"] is False

    refused = medqa("corpus", "remove", "notes")
    assert refused.returncode == 2
    assert "medqa-tui corpus remove notes --yes" in refused.stderr
    assert medqa("corpus", "remove", "notes", "--yes").returncode == 0
    assert medqa("corpus", "show", "notes").returncode == 2
    assert not list((home / "data" / "corpora").rglob("notes*"))


def test_a_path_alone_names_its_corpus(medqa: Program, table: Path) -> None:
    done = medqa("corpus", "add", str(table), "--no-index")
    assert done.returncode == 0, done.stderr
    assert "my-cards: 2 passages" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("add", "nothing-like-it"), 2, "medqa-tui corpus add nothing-like-it --from PATH"),
        (("add", "notes", "--from", "nowhere.csv"), 2, "no such file or folder"),
        (("add", "starter", "--from", "TABLE"), 2, "belongs to the corpus that comes with"),
        (("add", "notes", "--from", "TABLE", "--answer", "wrong"), 2, "There are: front, back, nr"),
        (("add", "notes", "--from", "TABLE", "--date", "soon"), 2, "2026-01-31"),
        (("add", "notes", "--from", "TABLE", "--format", "docx"), 2, "jsonl, json, csv"),
        (("add", "notes", "--from", "TABLE", "--format", "pdf"), 2, "not a PDF that can be read"),
        (("add", "medquad", "--offline"), 4, "medqa-tui corpus add medquad --from FILE"),
        (("update", "notes"), 2, "no such corpus"),
        (("list",), 3, "medqa-tui setup"),
        (("remove", "notes", "--yes"), 3, "no corpora yet"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_next_step(
    medqa: Program, table: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    done = medqa("corpus", *(str(table) if each == "TABLE" else each for each in args))
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_second_writer_waits_for_the_first(home: Path, table: Path) -> None:
    from filelock import FileLock

    home.mkdir()
    paths = paths_of(home)
    paths.data.mkdir()
    lock = FileLock(lock_file(paths))
    lock.acquire()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "medqa_tui", *add(table, "--no-index")],
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(home),
    )
    assert waiting.stderr is not None
    said = ""
    while "waiting for it" not in said:
        line = waiting.stderr.readline()
        assert line, said
        said += line
    assert waiting.poll() is None
    lock.release()
    rest = waiting.communicate()[1]
    assert waiting.returncode == 0, rest
    assert "2 passages" in rest


def test_a_damaged_store_is_rebuilt_on_request(home: Path, table: Path) -> None:
    medqa = program_in(home)
    assert medqa(*add(table, "--no-index")).returncode == 0
    store = home / "data" / "corpora" / "corpora.db"
    store.write_bytes(b"no database " * 1000)
    said = medqa("corpus", "list")
    assert said.returncode == 1
    assert "medqa-tui corpus update --rebuild" in said.stderr
    assert medqa("corpus", "update", "--rebuild", "--no-index").returncode == 0
    names = [
        row["corpus"] for row in json.loads(medqa("corpus", "list", "--json").stdout)["corpora"]
    ]
    assert names == ["notes", "starter"]


def with_a_small_disk(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the program where no file may become larger than 300 kB."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        f"sys.argv = ['medqa-tui', *{list(args)!r}];"
        "from medqa_tui.__main__ import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=clean_environment(home),
        check=False,
    )


def test_a_full_disk_is_said_and_the_same_command_goes_on(home: Path, table: Path) -> None:
    with table.open("a", newline="") as file:
        for number in range(3000):
            file.write(f"Question {number}?,{'word ' * 50}{number},n{number}\r\n")
    done = with_a_small_disk(home, *add(table, "--no-index"))
    assert done.returncode == 1, done.stderr
    assert "disk" in done.stderr
    assert "Traceback" not in done.stderr
    medqa = program_in(home)
    assert json.loads(medqa("corpus", "list", "--json").stdout)["corpora"] == []
    assert "3002 passages" in medqa(*add(table, "--no-index")).stderr
    done = with_a_small_disk(home, "corpus", "export", "notes", "-o", str(table.parent / "out"))
    assert "The disk is full." in done.stderr
    assert f"medqa-tui corpus export notes --out {table.parent / 'out'}" in done.stderr
    assert [path.name for path in table.parent.iterdir() if "out" in path.name] == []


def test_an_index_that_is_up_to_date_is_not_built_again(small: Program, small_home: Path) -> None:
    index = paths_of(small_home).indexes
    before = sorted(path.name for path in index.rglob("*"))
    # The models of this home hold nothing, so a build would fail.
    done = small("corpus", "update", "starter", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["indexed"] is True
    assert sorted(path.name for path in index.rglob("*")) == before


def test_passages_stay_where_the_index_cannot_be_built(
    small: Program, table: Path, small_home: Path
) -> None:
    done = small(*add(table))
    assert done.returncode == 1
    assert "The passages are stored, but the search index could not be built." in done.stderr
    assert "medqa-tui index build" in done.stderr
    rows = json.loads(small("corpus", "list", "--json").stdout)["corpora"]
    assert [row["corpus"] for row in rows] == ["notes", "starter"]
    # What was found before is found still.
    assert small("search", "asthma", "--no-engine", "--json").returncode == 0


def with_another_profile(home: Path) -> Path:
    """Give `home` a second profile, index the notes for both, and return the second index."""
    paths, profile = paths_of(home), get_profile("gpu-6gb")
    Active.of_profile(profile).write(paths)
    with CorpusStore(paths.corpora / "corpora.db") as store:
        for each in (get_profile("starter"), profile):
            build_index(store, CountingEmbedder(each.embedder), paths.indexes / each.index)
    return paths.indexes / profile.index


def holding(folder: Path, word: str) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if word.encode() in path.read_bytes()]


def test_what_was_removed_leaves_the_indexes_of_all_profiles(
    small: Program, table: Path, small_home: Path
) -> None:
    data = paths_of(small_home).data
    assert small(*add(table, "--no-index")).returncode == 0
    other = with_another_profile(small_home)
    assert holding(data, "glorp")
    kept = small("corpus", "remove", "notes", "--yes", "--no-index")
    assert kept.returncode == 0, kept.stderr
    assert "with words and vectors of what was removed" in kept.stderr
    assert holding(other, "glorp")
    # The models of this home hold nothing, so nothing can be embedded.
    assert small("corpus", "update", "starter").returncode == 1
    assert not holding(data, "glorp")
    with CorpusStore(data / "corpora" / "corpora.db") as store:
        for index in (other, other.with_name("starter")):
            assert verify_index(index, store) == []


def test_the_index_of_another_profile_that_lacks_what_is_new_is_named(
    small: Program, table: Path, small_home: Path
) -> None:
    assert small(*add(table, "--no-index")).returncode == 0
    with_another_profile(small_home)
    with table.open("a", newline="") as file:
        file.write("What is a murp?,A murp is new.,m1\r\n")
    assert small("corpus", "update", "notes", "--no-index").returncode == 0
    paths, profile = paths_of(small_home), get_profile("starter")
    with CorpusStore(paths.corpora / "corpora.db") as store:
        build_index(store, CountingEmbedder(profile.embedder), paths.indexes / profile.index)
    done = small("corpus", "update", "notes", "--json")
    assert done.returncode == 0, done.stderr
    assert "medqa-tui --profile gpu-6gb index build" in done.stderr
    assert json.loads(done.stdout)["behind"] == ["gpu-6gb"]


def test_corpora_are_switched_on_and_off_for_a_profile(medqa: Program, table: Path) -> None:
    def listed(*options: str) -> dict[str, bool]:
        rows = json.loads(medqa(*options, "corpus", "list", "--json").stdout)["corpora"]
        return {row["corpus"]: row["on"] for row in rows}

    for name in ("notes", "more"):
        done = medqa("corpus", "add", name, "--from", str(table), "--no-index")
        assert done.returncode == 0, done.stderr
    assert listed() == {"notes": True, "more": True}
    done = medqa("corpus", "off", "notes")
    assert done.returncode == 0, done.stderr
    assert "Searched with the profile starter: more." in done.stderr
    assert listed() == {"notes": False, "more": True}
    assert listed("--profile", "gpu-6gb") == {"notes": True, "more": True}
    refused = medqa("corpus", "off", "more")
    assert refused.returncode == 2
    assert "Nothing would be left to search." in refused.stderr
    assert medqa("corpus", "off", "elsewhere").returncode == 2
    assert json.loads(medqa("corpus", "on", "notes", "--json").stdout)["on"] == ["more", "notes"]
    assert json.loads(medqa("config", "get", "retrieval.corpora", "--json").stdout)["value"] == ""
