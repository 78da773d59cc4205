"""Adapters that were added or trained on this machine, as the doctor sees them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.config import Settings
from medqa_tui.doctor.deep import Damage, Part, inspect, leftovers
from medqa_tui.doctor.repair import repair
from medqa_tui.models import adapters
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.shipped import WEIGHTS_NAME, shipped_folder
from medqa_tui.paths import Paths, ensure


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A home whose starter profile orders what it finds with a re-ranker trained here."""
    paths = Paths(*(tmp_path / name for name in ("config", "data", "cache", "state", "run")))
    shipped = shipped_folder("medqa-rerank")
    assert shipped is not None
    shutil.copytree(shipped, ensure(paths.adapters) / "own")
    replace(Active.of_profile(get_profile("starter")), reranker="own").write(paths)
    return paths


def damaged_adapters(paths: Paths) -> list[Damage]:
    found = inspect(paths, lambda message, done, total: None)[0]
    return [damage for damage in found if damage.part is Part.ADAPTER]


def test_one_that_was_trained_here_is_checked_by_its_card(paths: Paths) -> None:
    assert damaged_adapters(paths) == []
    weights = paths.adapters / "own" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (damage,) = damaged_adapters(paths)
    assert "SHA-256" in damage.problems[0]
    assert damage.profiles == ("starter",)


def test_what_setup_does_not_bring_is_left_and_told_of(paths: Paths) -> None:
    (paths.adapters / "own" / WEIGHTS_NAME).unlink()
    before = load_active(paths)
    found = repair(damaged_adapters(paths), paths, Settings(), lambda message, done, total: None)
    assert [(each.name, each.ok) for each in found] == [("own", False)]
    assert found[0].fix == "medqa-tui adapter remove --force own"
    assert (paths.adapters / "own").is_dir()
    assert load_active(paths) == before


def test_what_is_being_added_is_no_leftover(paths: Paths) -> None:
    (paths.adapters / ".incoming-x").mkdir()
    with adapters.lock(paths):
        assert list(leftovers(paths)) == []
    assert [path.name for path in leftovers(paths)] == [".incoming-x"]
    found = repair(
        [Damage(Part.LEFTOVERS, "leftovers", paths.data, ("left",))],
        paths,
        Settings(),
        lambda message, done, total: None,
    )
    assert found[0].ok
    assert list(leftovers(paths)) == []
