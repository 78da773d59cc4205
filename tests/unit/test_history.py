"""The history: kept before an answer is made, through a kill, a damaged file, and many writers."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from kept_answers import ask, whole

from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Failure,
    Question,
    Sentence,
    Triage,
    TriageLevel,
    Turn,
)
from medqa_tui.errors import MedQAError
from medqa_tui.history import migrations
from medqa_tui.history.store import HistoryStore, Progress

PATTERN = "glossopharyngeal-neuralgia-4711"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@pytest.fixture
def store(path: Path) -> HistoryStore:
    return HistoryStore(path)


WHOLE = replace(whole(), failure=Failure("Title", "Detail", "Hint", 4))


def test_nothing_is_created_by_looking(store: HistoryStore, path: Path) -> None:
    assert store.list() == ()
    assert store.latest_session() is None
    assert store.get(1) is None
    assert store.turns("x") == ()
    assert store.count() == 0
    assert not path.parent.exists()


def test_a_question_is_kept_before_it_is_answered(store: HistoryStore) -> None:
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("Why?", "t1"), Triage(TriageLevel.URGENT, ("r",), "Go."))
    entry = store.list()[0]
    assert (entry.question, entry.status, entry.text) == ("Why?", Progress.RUNNING, "")
    assert (entry.triage, entry.advice, entry.finished) == (TriageLevel.URGENT, "Go.", None)
    recorder.partial("t1", "Because")
    assert store.list()[0].text == "Because"
    recorder.finish("t1", Answer("Why?", AnswerStatus.ANSWERED, "Because so."))
    entry = store.list()[0]
    assert (entry.status, entry.text) == (AnswerStatus.ANSWERED, "Because so.")
    assert entry.finished is not None


def test_the_whole_answer_comes_back(store: HistoryStore) -> None:
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("What is asthma?", "t1"), Triage())
    recorder.finish("t1", WHOLE)
    listed = store.list()[0]
    assert listed.answer is None
    found = store.get(listed.id)
    assert found is not None
    assert found.answer == WHOLE


def test_an_answer_from_before_passages_had_a_revision_comes_back(
    store: HistoryStore, path: Path
) -> None:
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("What is asthma?", "t1"), Triage())
    recorder.finish("t1", WHOLE)
    with sqlite3.connect(path) as connection:
        query = "UPDATE turns SET answer = json_remove(answer, '$.evidence[1].passage.revision')"
        assert connection.execute(query).rowcount == 1
    connection.close()
    found = store.get(1)
    assert found is not None
    assert found.answer == WHOLE


def test_an_answer_of_another_version_still_shows_its_text(store: HistoryStore, path: Path) -> None:
    ask(store, "Why?")
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE turns SET answer = '{"later": 1}'""")
    connection.close()
    found = store.get(1)
    assert found is not None
    assert found.answer is None
    assert found.text == "An answer."


def test_turns_of_a_conversation_come_oldest_first_without_unanswered_ones(
    store: HistoryStore,
) -> None:
    session = ask(store, "One?", "1.", "t1").session
    ask(store, "Two?", None, "t2")
    ask(store, "Three?", "3.", "t3")
    other = store.recorder(store.new_session())
    other.begin(Question("Other?", "t4"), Triage())
    assert store.turns(session) == (Turn("One?", "1."), Turn("Three?", "3."))
    assert store.latest_session() != session
    assert [entry.question for entry in store.list(2)] == ["Other?", "Three?"]
    assert store.count() == 4


def test_what_was_refused_or_failed_is_no_context(store: HistoryStore) -> None:
    session = store.new_session()
    recorder = store.recorder(session)
    told = (Sentence("Call.", (1,)),)
    answers = (
        Answer("Abstained?", AnswerStatus.ABSTAINED, "I don't know."),
        Answer("Elsewhere?", AnswerStatus.OUT_OF_SCOPE, "I only answer health questions."),
        Answer("Failed?", AnswerStatus.FAILED, "Half. [1]", told),
        Answer("Emergency?", AnswerStatus.EMERGENCY, "I don't know."),
        Answer("Told?", AnswerStatus.EMERGENCY, "Call. [1]", told),
        Answer("Cancelled?", AnswerStatus.CANCELLED, "Call. [1]", told),
    )
    for answer in answers:
        recorder.begin(Question(answer.question, answer.question), Triage())
        recorder.finish(answer.question, answer)
    assert [turn.question for turn in store.turns(session)] == ["Told?", "Cancelled?"]
    assert [answer.question for answer in answers if answer.is_context] == ["Told?", "Cancelled?"]


def test_files_and_folder_are_for_their_owner_alone(store: HistoryStore, path: Path) -> None:
    ask(store, "Why?")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()
    path.chmod(0o644)
    assert HistoryStore(path).count() == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_journal_is_for_its_owner_alone(store: HistoryStore, path: Path) -> None:
    seen = []

    def look(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM turns")
        seen.extend(stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir())

    ask(store, "Why?")
    store.database.run(look)
    assert len(seen) == 2
    assert set(seen) == {0o600}


def test_text_is_cleaned_before_it_is_kept(store: HistoryStore) -> None:
    ask(store, "a\x1b[31m\ud800b", "c\u202ed", "t1")
    entry = store.list()[0]
    assert (entry.question, entry.text) == ("ab", "cd")


def test_a_killed_process_leaves_its_question_and_what_it_had_said(path: Path) -> None:
    code = f"""
import sys
from dataclasses import replace
from pathlib import Path
from medqa_tui.domain import Question, Triage
from medqa_tui.history.store import HistoryStore
store = HistoryStore(Path({str(path)!r}))
recorder = store.recorder(store.new_session())
recorder.begin(Question("Why?", "t1"), Triage())
recorder.partial("t1", "Because")
print("saved", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "saved\n"
        store = HistoryStore(path)
        assert store.list()[0].status is Progress.RUNNING
        child.send_signal(signal.SIGKILL)
        child.wait()
    entry = store.list()[0]
    assert (entry.question, entry.status, entry.text) == ("Why?", Progress.INTERRUPTED, "Because")
    assert store.turns(entry.session) == (Turn("Why?", "Because"),)


def test_a_number_taken_over_by_another_process_is_not_taken_for_the_writer(
    store: HistoryStore, path: Path
) -> None:
    ask(store, "Why?", None, "t1")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE turns SET writer = ?", (f"{os.getppid()} 1.00",))
    connection.close()
    assert store.list()[0].status is Progress.INTERRUPTED


def test_many_writers_at_once_lose_nothing(path: Path) -> None:
    code = """
import sys
from dataclasses import replace
from pathlib import Path
from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.history.store import HistoryStore
path, name = Path(sys.argv[1]), sys.argv[2]
store = HistoryStore(path)
recorder = store.recorder(store.new_session())
sys.stdin.readline()
for number in range(10):
    turn = f"{name}-{number}"
    recorder.begin(Question(turn, turn), Triage())
    recorder.partial(turn, "part")
    recorder.finish(turn, Answer(turn, AnswerStatus.ANSWERED, "whole"))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)], stdin=subprocess.PIPE)
        for n in range(4)
    ]
    for child in children:
        child.communicate(b"go\n")
    assert [child.returncode for child in children] == [0] * 4
    entries = HistoryStore(path).list()
    assert len(entries) == 40
    assert {(entry.status, entry.text) for entry in entries} == {(AnswerStatus.ANSWERED, "whole")}


def test_a_file_that_was_moved_away_while_open_is_begun_anew(
    store: HistoryStore, path: Path
) -> None:
    ask(store, "Before?")
    path.rename(path.with_name("elsewhere.db"))
    ask(store, "After?")
    assert [entry.question for entry in HistoryStore(path).list()] == ["After?"]


def test_purge_leaves_no_trace_in_any_file(store: HistoryStore, path: Path) -> None:
    for number in range(30):
        ask(store, f"{PATTERN} {number} {'y' * 3000}", f"{PATTERN} " * 200, f"t{number}")
    assert PATTERN.encode() in path.read_bytes()
    size = path.stat().st_size
    assert store.purge() == 30
    assert store.list() == ()
    assert path.stat().st_size < size
    for file in path.parent.iterdir():
        assert PATTERN.encode() not in file.read_bytes(), file
    ask(store, "Later?")
    assert store.list()[0].id == 31


def test_a_deleted_question_is_overwritten(store: HistoryStore, path: Path) -> None:
    ask(store, "Kept?")
    ask(store, PATTERN, f"{PATTERN} " * 2000, "t2")
    assert store.delete(2)
    assert not store.delete(2)
    assert [entry.question for entry in store.list()] == ["Kept?"]
    for file in path.parent.iterdir():
        assert PATTERN.encode() not in file.read_bytes(), file


def test_what_a_growing_answer_replaced_is_overwritten(store: HistoryStore, path: Path) -> None:
    recorder = store.recorder(store.new_session())
    recorder.begin(Question("Why?", "t1"), Triage())
    recorder.partial("t1", f"{PATTERN} " * 2000)
    recorder.finish("t1", Answer("Why?", AnswerStatus.ABSTAINED, "No."))
    assert PATTERN.encode() not in path.read_bytes()


def test_a_later_versions_file_is_refused_and_left_alone(store: HistoryStore, path: Path) -> None:
    ask(store, "Why?")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {migrations.VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(MedQAError, match="later version"):
        HistoryStore(path).list()
    assert path.read_bytes() == before


def test_a_migration_keeps_what_is_there(
    store: HistoryStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, "Why?")
    store.close()
    later = (*migrations.MIGRATIONS, ("ALTER TABLE turns ADD COLUMN extra TEXT DEFAULT 'new'",))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    monkeypatch.setattr(migrations, "VERSION", len(later))
    again = HistoryStore(path)
    assert again.list()[0].question == "Why?"
    version = again.database.run(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
    extra = again.database.run(lambda c: c.execute("SELECT extra FROM turns").fetchone()[0])
    assert (version, extra) == (len(later), "new")


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    store: HistoryStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, "Why?")
    store.close()
    wrong = ("ALTER TABLE turns ADD COLUMN extra TEXT", "ALTER TABLE nothing ADD COLUMN x TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, wrong))
        patch.setattr(migrations, "VERSION", len(migrations.MIGRATIONS))
        with pytest.raises(MedQAError):
            HistoryStore(path).list()
    assert HistoryStore(path).list()[0].question == "Why?"


def test_a_folder_that_is_a_file_is_said_in_words_or_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    path = tmp_path / "data" / "history.db"
    with pytest.raises(MedQAError) as caught:
        HistoryStore(path).recorder("s").begin(Question("Why?", "t"), Triage())
    assert caught.value.detail
    told: list[str] = []
    recorder = HistoryStore(path, told.append).recorder("s")
    recorder.begin(Question("Why?", "t"), Triage())
    recorder.partial("t", "Because")
    recorder.finish("t", Answer("Why?", AnswerStatus.ANSWERED, "Because."))
    assert len(told) == 1
    assert told[0].startswith("This answer is not kept.")
