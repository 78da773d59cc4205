"""Searching, naming, pinning and forgetting what is in the history."""

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kept_answers import ask

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.history import migrations, search, since, upkeep
from medqa_tui.history.store import HistoryStore, Progress

RARE = "zqxglossopharyngeal"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@pytest.fixture
def store(path: Path) -> HistoryStore:
    return HistoryStore(path)


def keep(store: HistoryStore, question: str, answer: str | None) -> int:
    return ask(store, question, answer).id


def ids(found: search.Found) -> list[int]:
    return [hit.entry.id for hit in found.hits]


def words_in_index(store: HistoryStore, like: str) -> list[str]:
    def work(connection: sqlite3.Connection) -> list[str]:
        connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, turns_search, row)"
        )
        rows = connection.execute("SELECT term FROM words WHERE term LIKE ?", (f"{like}%",))
        return [term for (term,) in rows]

    return store.database.run(work)


def test_searching_an_absent_history_finds_nothing_and_makes_nothing(
    store: HistoryStore, path: Path
) -> None:
    assert store.search("asthma") == search.Found((), 0)
    assert not path.parent.exists()


def test_questions_weigh_more_than_answers_and_titles_most(store: HistoryStore) -> None:
    answer = keep(store, "What causes wheezing?", "Asthma is one of several causes of wheezing.")
    question = keep(store, "What is asthma?", "A disease of the airways, which narrow and swell.")
    title = keep(store, "And its triggers?", "Pollen, smoke, cold air and exercise, among others.")
    store.rename(title, "Asthma triggers")
    assert ids(store.search("asthma")) == [title, question, answer]
    assert store.search("asthma", limit=1).total == 3
    scores = [hit.score for hit in store.search("asthma").hits]
    assert scores == sorted(scores, reverse=True)


def test_words_are_found_in_their_other_forms_and_without_accents(store: HistoryStore) -> None:
    keep(store, "What is Ménière's disease?", "It affects the inner ears.")
    for words in ("meniere", "ear", "affecting", "DISEASES", "inner EAR", "affe*", "men* ear"):
        assert store.search(words).total == 1, words
    assert store.search("disea").total == 0


def test_phrases_and_words_that_are_operators(store: HistoryStore) -> None:
    first = keep(store, "Pain in the chest?", "See a doctor.")
    second = keep(store, "Chest pain?", "Call for help, and do not wait.")
    assert ids(store.search('"chest pain"')) == [second]
    assert set(ids(store.search("chest pain"))) == {first, second}
    assert ids(store.search('"chest pain" help')) == [second]
    assert ids(store.search("NOT wait")) == [second]
    assert ids(store.search('"chest pain')) == [second]


@pytest.mark.parametrize(
    "typed",
    ['"', "'", "a\"b'c", "AND", "question:pain", "^pain", "(pain", "pain)", "-pain", "NEAR(a b)",
     "pain*pain", "* *", "{a b}: c", "'; DROP TABLE turns; --", "\0", "%_", "\x1b[31mpain",
     "é" * 999],
)  # fmt: skip
def test_nothing_that_is_typed_is_an_operator(typed: str, store: HistoryStore) -> None:
    keep(store, "Chest pain?", "Call.")
    with suppress(UsageError):
        assert store.search(typed).total <= 1
    assert store.count() == 1


def test_where_nothing_holds_all_words_some_have_to_do(store: HistoryStore) -> None:
    keep(store, "What is gout?", "A kind of arthritis.")
    found = store.search("gout medicine")
    assert (found.total, found.all_words) == (1, False)
    assert store.search("gout arthritis").all_words


def test_the_snippet_shows_the_words(store: HistoryStore) -> None:
    keep(store, "Why?", "filler " * 60 + "the airways\nnarrow " + "filler " * 60)
    hit = store.search("airway narrow").hits[0]
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["airways", "narrow"]
    assert len(hit.snippet) < 250
    assert "\n" not in hit.snippet
    keep(store, "Is pollen a trigger?", "Yes.")
    hit = store.search("pollen").hits[0]
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["pollen"]


def test_what_a_killed_process_had_said_is_found(store: HistoryStore) -> None:
    id = keep(store, "Why?", None)
    store.recorder("s").partial("t0 Why?", f"Because of {RARE}")
    assert store.search(RARE).total == 0
    assert words_in_index(store, "zqx") == []
    store.database.run(lambda c: c.execute("UPDATE turns SET writer = '0 0'"))
    found = store.search(RARE)
    assert (ids(found), found.hits[0].entry.status) == ([id], Progress.INTERRUPTED)


def test_deleted_words_leave_the_index_and_the_file(store: HistoryStore, path: Path) -> None:
    for number in range(30):
        keep(store, f"Common question {number}?", "A common answer.")
    id = keep(store, f"What is {RARE}?", f"{RARE}bulin helps.")
    assert words_in_index(store, "zqx")
    assert store.delete(id)
    assert words_in_index(store, "zqx") == []
    assert b"glossopharyn" not in path.read_bytes()
    assert store.search("common").total == 30


def test_a_title_that_was_replaced_leaves_the_index(store: HistoryStore, path: Path) -> None:
    id = keep(store, "What is gout?", "A kind of arthritis.")
    assert store.rename(id, f"  My\n{RARE}\x1b[31m  ")
    assert store.list()[0].title == f"My {RARE}"
    assert store.list()[0].name == f"My {RARE}"
    assert store.search(RARE).total == 1
    assert store.rename(id, "")
    assert store.list()[0].name == "What is gout?"
    assert words_in_index(store, "zqx") == []
    assert b"glossopharyn" not in path.read_bytes()
    assert not store.rename(99, "x")
    assert not store.rename(10**30, "x")


def test_purge_empties_the_shadow_tables(store: HistoryStore, path: Path) -> None:
    for number in range(50):
        keep(store, f"{RARE}{number} question?", f"{RARE}ing answer {number}.")
    assert store.purge() == 50
    assert words_in_index(store, "") == []
    for table in ("content", "docsize", "idx"):
        count = store.database.run(
            lambda c, table=table: c.execute(f"SELECT count(*) FROM turns_search_{table}")
        ).fetchone()
        assert count == (0,), table
    assert b"zqx" not in path.read_bytes()
    assert b"glossopharyn" not in path.read_bytes()
    keep(store, "New?", "Yes.")
    assert store.search("new").total == 1


def test_pinned_ones_come_first(store: HistoryStore) -> None:
    for number in range(4):
        keep(store, f"Question {number}?", "Yes.")
    assert store.pin([2, 3, 99, 10**30]) == 2
    assert [(entry.id, entry.pinned) for entry in store.list()] == [
        (3, True),
        (2, True),
        (4, False),
        (1, False),
    ]
    assert store.latest().id == 4  # type: ignore[union-attr]
    assert store.pin([2], pinned=False) == 1
    assert [entry.id for entry in store.list()] == [3, 4, 2, 1]


def age(store: HistoryStore, id: int, days: float) -> None:
    asked = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    store.database.run(lambda c: c.execute("UPDATE turns SET asked = ? WHERE id = ?", (asked, id)))


def test_since_limits_lists_searches_and_exports(store: HistoryStore) -> None:
    for number in range(3):
        age(store, keep(store, f"Question {number}?", "Yes."), 10 * (2 - number))
    start = since.parse("15d")
    assert [entry.id for entry in store.list(since=start)] == [3, 2]
    assert store.count(start) == 2
    assert ids(store.search("question", since=start)) == [3, 2]
    assert [entry.id for entry in store.whole(since=start)] == [2, 3]
    assert [entry.id for entry in store.whole([1, 3])] == [1, 3]


def test_old_answers_are_deleted_where_that_is_asked_for(path: Path) -> None:
    plain = HistoryStore(path)
    for number in range(4):
        age(plain, keep(plain, f"{RARE} {number}?", "Yes."), 40 - 10 * number)
    plain.pin([1])
    keep(plain, "Still nothing?", "Kept.")
    assert plain.count() == 5
    plain.close()
    store = HistoryStore(path, retention_days=15)
    keep(store, "New?", "Yes.")
    assert sorted(entry.id for entry in store.list()) == [1, 4, 5, 6]
    assert store.search(RARE).total == 2
    age(store, 5, 100)
    keep(store, "The same day?", "Yes.")
    assert store.get(5) is not None
    store.database.run(
        lambda c: upkeep.expire(c, 15, datetime.now(UTC) + timedelta(days=1, hours=1))
    )
    assert store.get(5) is None
    assert store.get(1) is not None


def test_a_history_without_search_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        for statement in migrations.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO sessions VALUES ('s', '2025-01-01T00:00:00+00:00')")
        connection.executemany(
            "INSERT INTO turns (turn, session, asked, status, question, text, writer)"
            " VALUES (?, 's', '2025-01-01T00:00:00+00:00', 'answered', ?, 'An old answer.', '')",
            [(f"t{n}", f"Old question {n}?") for n in range(20)],
        )
        connection.commit()
    store = HistoryStore(path)
    assert store.search("old question").total == 20
    assert [entry.id for entry in store.list(2)] == [20, 19]
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def schema_and_turns(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchall()
        names = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
        return [version, names, connection.execute("SELECT * FROM turns").fetchall()]


def test_a_step_that_does_not_hold_puts_the_old_file_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HistoryStore(path)
    keep(store, "Why?", "So.")
    store.close()
    before = schema_and_turns(path)
    sound = migrations.require_sound

    def unsound_at_last(connection: sqlite3.Connection) -> None:
        sound(connection)
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'x'").fetchone()[0]:
            raise migrations.corrupt("as a check would find it")

    for step, reason in (("CREATE TABLE x (y)", "as it was"), ("DELETE FROM turns", "lost")):
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, (step,)))
            patch.setattr(migrations, "VERSION", migrations.VERSION + 1)
            patch.setattr(migrations, "require_sound", unsound_at_last)
            with pytest.raises(MedQAError, match="cannot be used") as caught:
                HistoryStore(path).list()
        assert reason in caught.value.detail
        assert schema_and_turns(path) == before
        assert [file.name for file in path.parent.iterdir()] == ["history.db"]
        assert HistoryStore(path).list()[0].question == "Why?"


def test_without_fts5_everything_but_the_search_works(
    store: HistoryStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, "First?", "Yes.")
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(search, "is_available", lambda connection: False)
        poor = HistoryStore(path)
        keep(poor, "Second?", "Yes.")
        with pytest.raises(UsageError, match="cannot search"):
            poor.search("second")
        poor.close()
    assert HistoryStore(path).search("second").total == 1


NOW = datetime(2026, 3, 30, 1, 30, tzinfo=UTC).astimezone(
    datetime(2026, 3, 30, tzinfo=UTC).astimezone().tzinfo
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("2 weeks ago", NOW - timedelta(days=14)),
        ("12h", NOW - timedelta(hours=12)),
        ("90 min", NOW - timedelta(minutes=90)),
        ("today", NOW.replace(hour=0, minute=0)),
        ("Yesterday", NOW.replace(hour=0, minute=0) - timedelta(days=1)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=NOW.tzinfo)),
        ("2026-03-01T12:30", datetime(2026, 3, 1, 12, 30, tzinfo=NOW.tzinfo)),
        ("2026-03-01T12:30:00+02:00", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
    ],
)
def test_times_as_people_type_them(text: str, expected: datetime) -> None:
    assert since.parse(text, NOW) == expected.astimezone(UTC).isoformat(timespec="seconds")


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "2026-13-01", "999999w", "d7"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        since.parse(text, NOW)
