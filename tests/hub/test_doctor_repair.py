"""The doctor finds every flipped byte of an installed profile, and setup puts each right."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from medqa_tui.config import Settings
from medqa_tui.doctor.deep import Damage, Part, as_checks, inspect
from medqa_tui.doctor.repair import Repair, repair
from medqa_tui.doctor.report import CheckStatus
from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.history.store import HistoryStore
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.files import Cancelled
from medqa_tui.paths import Paths, get_paths
from medqa_tui.setup.events import SetupOptions
from medqa_tui.setup.plan import store_file
from medqa_tui.setup.runner import is_ready, run_setup

from . import stand_ins
from .loopback import LoopbackHub

SETTINGS = Settings(profile="flashcards")


@pytest.fixture
def installed(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A home with the flashcards profile, from the hub of this machine, and a history."""
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    stand_ins.serve(hub, stand_ins.build_flashcards(tmp_path / "stand-ins"))
    paths = get_paths()
    run_setup(SetupOptions(profile="flashcards", yes=True), paths, SETTINGS)
    store = HistoryStore(paths.history_db)
    recorder = store.recorder("s")
    for number in range(3):
        recorder.begin(Question(f"Question {number}?", f"t{number}"), Triage())
        recorder.finish(f"t{number}", Answer("?", AnswerStatus.ANSWERED, "Yes."))
    store.close()
    return paths


def look(paths: Paths) -> list[Damage]:
    return inspect(paths, lambda message, done, total: None)[0]


def mend(paths: Paths, damages: list[Damage]) -> dict[Part, Repair]:
    done = repair(damages, paths, SETTINGS, lambda message, done, total: None)
    return {each.part: each for each in done}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def damage_everything(paths: Paths, active: Active) -> None:
    for folder in (active.generator_dir(paths), active.adapter_dir(paths)):
        assert folder is not None
        flip(next(folder.glob("*.safetensors")), -1)
    for path in active.index_dir(paths).rglob("*.npy"):
        flip(path, -1)
    store_file(paths).write_bytes(b"garbage" * 10_000)
    with closing(sqlite3.connect(paths.history_db)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turns_asked'")
        number = page.fetchone()[0]
    data = bytearray(paths.history_db.read_bytes())
    data[(number - 1) * 4096 : number * 4096] = b"\xff" * 4096
    paths.history_db.write_bytes(data)
    (paths.models / ".incoming-x").mkdir()
    (paths.models / ".incoming-x" / "half").write_bytes(b"half")


def test_everything_damaged_is_found_and_put_right(hub: LoopbackHub, installed: Paths) -> None:
    damages, told = inspect(installed, lambda message, done, total: None)
    assert damages == []
    assert set(told) == set(Part)
    assert {check.status for check in as_checks(damages, told)} == {CheckStatus.OK}
    active = load_active(installed)
    assert active is not None
    damage_everything(installed, active)

    damages, told = inspect(installed, lambda message, done, total: None)
    assert {damage.part for damage in damages} == set(Part)
    failed = [check for check in as_checks(damages, told) if check.status is CheckStatus.FAIL]
    assert [check.name for check in failed] == [part.value for part in Part][1:]
    assert all(check.fix == "medqa-tui doctor --deep --repair" for check in failed)

    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        repair(damages, installed, SETTINGS, lambda message, done, total: None, stop)
    done = mend(installed, damages)
    assert {part: each.ok for part, each in done.items()} == dict.fromkeys(Part, True), done
    assert "3 questions could be read" in done[Part.HISTORY].done
    assert "is kept in" in done[Part.CORPORA].done
    assert look(installed) == []
    assert is_ready(installed, SETTINGS)
    assert HistoryStore(installed.history_db).count() == 3
    assert load_active(installed) == active

    # What cannot be fetched is said, and what was there is given back.
    flip(next(active.generator_dir(installed).glob("*.safetensors")), -1)
    hub.stop()
    failed_repair = mend(installed, look(installed))[Part.MODEL]
    assert not failed_repair.ok
    assert failed_repair.done
    assert failed_repair.fix
    assert is_ready(installed, SETTINGS)
    assert [damage.part for damage in look(installed)] == [Part.MODEL]
    shutil.rmtree(active.generator_dir(installed))
    missing = look(installed)
    assert "is missing" in missing[0].problems[0]
    assert missing[0].profiles == ("flashcards",)


def test_the_check_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    paths = Paths(*(tmp_path / name for name in ("config", "data", "cache", "state", "run")))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        inspect(paths, lambda message, done, total: None, stop)
