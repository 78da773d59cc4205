"""A damaged history: what can be read is saved, the file is kept aside, and it is said."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.errors import MedQAError
from medqa_tui.history import carve, search
from medqa_tui.history.store import HistoryStore, Progress

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@cache
def _filled(count: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        _fill(path, count)
        return path.read_bytes()


def fill(path: Path, count: int = 40) -> None:
    """Keep `count` questions, every third one with an answer longer than a page."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(_filled(count))


def _fill(path: Path, count: int) -> None:
    store = HistoryStore(path)
    recorder = store.recorder(store.new_session())
    for number in range(count):
        text = f"Question {number} {'x' * 300}?"
        recorder.begin(Question(text, f"t{number}"), Triage())
        long = f"Answer {number}. " * (1 if number % 3 else 700)
        recorder.finish(f"t{number}", Answer(text, AnswerStatus.ANSWERED, long))
    store.pin([2])
    store.rename(3, "Named")
    store.close()


def number_of(question: str) -> int:
    return int(question.split()[1])


def reopened(path: Path) -> tuple[HistoryStore, list[str]]:
    told: list[str] = []
    return HistoryStore(path, told.append), told


def test_carving_a_whole_file_gives_every_row(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM turns ORDER BY id").fetchall()
    found = {row.rowid: row.values for row in carve.carve(path) if len(row.values) == len(rows[0])}
    assert [(id, *found[id][1:]) for id in sorted(found)] == rows


@pytest.mark.parametrize("damage", ["header", "first page", "first half", "all but the start"])
def test_what_can_be_read_is_saved(damage: str, path: Path) -> None:
    fill(path)
    whole = path.read_bytes()
    middle = len(whole) // PAGE // 2 * PAGE
    match damage:
        case "header":
            path.write_bytes(b"\xff" * 100 + whole[100:])
        case "first page":
            path.write_bytes(b"\xff" * PAGE + whole[PAGE:])
        case "first half":
            path.write_bytes(whole[:middle])
        case _:
            path.write_bytes(whole[:PAGE] + b"\xff" * (len(whole) - PAGE))
    damaged = path.read_bytes()
    store, told = reopened(path)
    entries = store.list()
    assert len(told) == 1
    assert told[0].startswith("The history was damaged.")
    aside = store.set_aside()
    assert len(aside) == 1
    assert str(aside[0]) in told[0]
    assert aside[0].read_bytes() == damaged
    if damage in ("header", "first page"):
        assert len(entries) == 40
        assert (entries[0].id, entries[0].pinned) == (2, True)
        assert store.get(3).title == "Named"  # type: ignore[union-attr]
        assert store.get(4).answer is not None  # type: ignore[union-attr]
    elif damage == "first half":
        assert 5 < len(entries) < 40
    else:
        assert entries == ()
    for entry in entries:
        assert entry.id == number_of(entry.question) + 1
        assert store.search(f'"Question {number_of(entry.question)}"').total == 1
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("After?", "after"), Triage())
    assert store.latest().question == "After?"  # type: ignore[union-attr]
    assert store.count() == len(entries) + 1
    assert store.purge() == len(entries) + 1
    assert store.set_aside() == ()
    assert sorted(file.name for file in path.parent.iterdir()) == ["history.db", "history.db.lock"]


# In 109 and 193 a name in the schema is hit.
@pytest.mark.parametrize("seed", [*range(8), 109, 193])
def test_flipped_bytes_never_end_in_a_crash_and_cost_only_what_they_hit(
    seed: int, path: Path
) -> None:
    fill(path, 25)
    data = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range({0: 1, 1: 200, 2: 20, 3: 3}[seed % 4]):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    store, told = reopened(path)
    entries = store.list()
    store.search("answer question")
    store.whole()
    assert all(text.startswith(("The history", "The search index")) for text in told)
    assert len(entries) >= 24, told
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("After?", "after"), Triage())
    recorder.finish("after", Answer("After?", AnswerStatus.ANSWERED, "Yes."))
    store.close()
    again, told = reopened(path)
    assert again.search("after").total == 1
    assert told == []


def test_a_damaged_search_index_is_made_anew_and_nothing_is_lost(path: Path) -> None:
    fill(path, 5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE turns_search_data SET block = x'ff00ff00'")
        connection.commit()
    store, told = reopened(path)
    assert store.search("question").total == 5
    assert told == ["The search index of the history was damaged and has been made anew."]
    assert store.set_aside() == ()
    assert store.database.run(search.is_sound)


def test_an_index_that_misses_entries_is_not_sound(path: Path) -> None:
    fill(path, 5)
    store, _ = reopened(path)
    store.database.run(lambda c: c.execute("DELETE FROM turns_search WHERE rowid = 2"))
    assert not store.database.run(search.is_sound)
    assert store.database.repair()
    assert store.search("question").total == 5


def test_damage_that_a_question_would_not_meet_is_found_after_a_kill(path: Path) -> None:
    fill(path)
    store, _ = reopened(path)
    store.recorder(store.new_session()).begin(Question("Why?", "t"), Triage())
    store.database.run(lambda c: c.execute("UPDATE turns SET writer = '0 0' WHERE turn = 't'"))
    root = store.database.run(
        lambda c: c.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turns_session'")
    ).fetchone()[0]
    store.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * PAGE : root * PAGE] = b"\xff" * PAGE
    path.write_bytes(data)
    again, told = reopened(path)
    assert again.count() == 41
    assert "41 questions could be read" in told[0]
    assert again.list()[1].status is Progress.INTERRUPTED


def test_a_kill_in_the_middle_of_a_repair_leaves_the_damaged_file_or_the_new_one(
    path: Path,
) -> None:
    fill(path)
    data = path.read_bytes()
    path.write_bytes(b"\xff" * PAGE + data[PAGE:])
    for stage in ("salvage", "_keep", "replace"):
        code = f"""
import os, sys
from pathlib import Path
from medqa_tui.history import salvage
from medqa_tui.history.store import HistoryStore
def killed(work, after):
    def run(*args):
        result = work(*args) if after else None
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    return run
if {stage!r} == "replace":
    Path.replace = killed(Path.replace, False)
else:
    setattr(salvage, {stage!r}, killed(getattr(salvage, {stage!r}), True))
HistoryStore(Path({str(path)!r})).list()
"""
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == -signal.SIGKILL
    store, told = reopened(path)
    assert store.count() == 40
    assert "40 questions could be read" in told[0]
    assert store.purge() == 40
    assert sorted(file.name for file in path.parent.iterdir()) == ["history.db", "history.db.lock"]


def test_a_writer_killed_at_any_moment_leaves_a_sound_file(path: Path) -> None:
    code = """
import sys
from pathlib import Path
from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.history.store import HistoryStore
store = HistoryStore(Path(sys.argv[1]))
recorder = store.recorder(store.new_session())
for number in range(100_000):
    turn = f"{sys.argv[2]}-{number}"
    recorder.begin(Question(turn, turn), Triage())
    print(turn, flush=True)
    recorder.partial(turn, "part " * 3000)
    recorder.finish(turn, Answer(turn, AnswerStatus.ANSWERED, "whole " * 3000))
"""
    begun = 0
    for attempt in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(attempt)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            for _ in range(2 + attempt):
                assert child.stdout.readline()
            child.kill()
            begun += 2 + attempt + len(child.stdout.read().splitlines())
    store, told = reopened(path)
    assert told == []
    # One more may have been saved than the child had time to say.
    assert begun <= store.count() <= begun + 4
    assert all(entry.status is not Progress.RUNNING for entry in store.list())
    assert store.database.run(search.is_sound)
    assert store.database.run(lambda c: c.execute("PRAGMA integrity_check").fetchone()) == ("ok",)


def test_two_writers_at_once_on_a_damaged_file(path: Path) -> None:
    fill(path)
    data = path.read_bytes()
    path.write_bytes(b"\xff" * PAGE + data[PAGE:])
    code = """
import sys
from pathlib import Path
from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.history.store import HistoryStore
store = HistoryStore(Path(sys.argv[1]))
recorder = store.recorder(store.new_session())
sys.stdin.readline()
for number in range(5):
    turn = f"{sys.argv[2]}-{number}"
    recorder.begin(Question(turn, turn), Triage())
    recorder.finish(turn, Answer(turn, AnswerStatus.ANSWERED, "whole"))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)], stdin=subprocess.PIPE)
        for n in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
    assert [child.returncode for child in children] == [0] * 3
    store, told = reopened(path)
    assert store.count() == 40 + 15
    assert told == []
    assert len(store.set_aside()) == 1


def test_a_full_disk_is_told_and_the_next_answer_is_tried_again(path: Path) -> None:
    fill(path, 3)
    store, told = reopened(path)
    pages = store.database.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    store.database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}"))
    recorder = store.recorder(store.new_session())
    text = "word " * 4000
    recorder.begin(Question(text, "t9"), Triage())
    recorder.partial("t9", "Because")
    recorder.finish("t9", Answer(text, AnswerStatus.ANSWERED, text))
    assert len(told) == 1
    assert told[0].startswith("This answer is not kept. The disk is full.")
    recorder.begin(Question("Short?", "t10"), Triage())
    recorder.finish("t10", Answer("Short?", AnswerStatus.ANSWERED, text * 10))
    assert told[1].startswith("The rest of this answer is not kept. The disk is full.")
    store.database.run(lambda c: c.execute("PRAGMA max_page_count = 100000"))
    recorder.begin(Question("Again?", "t11"), Triage())
    assert [entry.question for entry in store.list()[:3]][1:] == ["Again?", "Short?"]
    assert len(told) == 2


def test_a_locked_file_is_told_and_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medqa_tui.history.database.BUSY_S", 0.01)
    fill(path, 3)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        store, told = reopened(path)
        recorder = store.recorder(store.new_session())
        recorder.begin(Question("Why?", "t9"), Triage())
        recorder.finish("t9", Answer("Why?", AnswerStatus.ANSWERED, "So."))
        assert len(told) == 1
        assert told[0].startswith("This answer is not kept. The history is in use")
        assert store.count() == 3
    recorder.begin(Question("And now?", "t10"), Triage())
    assert store.count() == 4


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_read_only_history_is_read_and_the_answer_goes_on(path: Path) -> None:
    fill(path, 3)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    for folder in path.parents:
        if folder != Path("/") and folder.stat().st_uid == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    # Root may write anything, so the child becomes nobody once it has imported what it needs.
    code = f"""
import os
from pathlib import Path
import filelock, psutil
from medqa_tui.domain import Question, Triage
from medqa_tui.history.store import HistoryStore
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
store = HistoryStore(Path({str(path)!r}), print)
print(store.count(), len(store.list()), store.search("question").total)
recorder = store.recorder(store.new_session())
recorder.begin(Question("Why?", "t9"), Triage())
recorder.partial("t9", "Because")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "3 3 3"
    assert lines[1].startswith("This answer is not kept. The history cannot be written.")
    assert len(lines) == 2


def test_a_file_that_is_a_folder_is_said_in_words(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(MedQAError, match="cannot be used"):
        HistoryStore(path).list()
