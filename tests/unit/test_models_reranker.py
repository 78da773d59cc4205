"""A re-ranker that is an adapter: where it lies, what it fits, and how a home comes by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.models import adapters
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.records import RECORD_NAME
from medqa_tui.models.shipped import AdapterCard, shipped_folder, shipped_names
from medqa_tui.paths import Paths, get_paths
from medqa_tui.setup.plan import activation, given_up

NAME = "medqa-rerank"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    return get_paths()


def put_embedder(paths: Paths, base: str, revision: str) -> None:
    folder = paths.models / "all-minilm-l6-v2"
    folder.mkdir(parents=True)
    record = {
        "name": folder.name,
        "slot": "embedder",
        "id": base,
        "revision": revision,
        "licence": "none",
        "quantization": None,
        "source": "a test",
        "files": [],
        "installed": "2026-01-01T00:00:00+00:00",
    }
    (folder / RECORD_NAME).write_text(json.dumps(record))


def problems(active: Active, paths: Paths) -> list[str]:
    found = active.problems(paths, deep=True)
    return [line for line in found if NAME in line or "re-rank" in line]


def test_it_ships_with_a_card_and_is_no_generators_adapter() -> None:
    folder = shipped_folder(NAME)
    assert folder is not None
    card = AdapterCard.read(folder)
    assert card.licence == "CC BY 4.0"
    assert "MedQuAD" in card.attribution
    assert NAME not in shipped_names()
    assert "medqa-starter" in shipped_names()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_000_000
    row = json.loads((folder / "card.json").read_text())
    assert set(row["data"]) == {"medquad", "starter"}
    assert row["data"]["medquad"]["left_out"].keys() == {"not in the train split"}


def test_it_is_checked_against_the_embedder(paths: Paths) -> None:
    starter = get_profile("starter")
    active = Active.of_profile(starter)
    assert active.reranker == NAME
    assert active.reranker_dir(paths) == shipped_folder(NAME)
    put_embedder(paths, starter.embedder.id, starter.embedder.revision)
    assert problems(active, paths) == []
    (paths.models / "all-minilm-l6-v2" / RECORD_NAME).unlink()
    (paths.models / "all-minilm-l6-v2").rmdir()
    put_embedder(paths, starter.embedder.id, "another revision")
    assert "not for another revision" in problems(active, paths)[0]


def test_one_trained_here_comes_before_the_shipped_one(paths: Paths) -> None:
    active = replace(Active.of_profile(get_profile("starter")), reranker="own")
    own = paths.adapters / "own"
    own.mkdir(parents=True)
    assert active.reranker_dir(paths) == own


def test_the_shipped_one_can_be_chosen_again(paths: Paths) -> None:
    starter = get_profile("starter")
    put_embedder(paths, starter.embedder.id, starter.embedder.revision)
    replace(Active.of_profile(starter), reranker="own").write(paths)
    assert adapters.get(paths, NAME).kind is adapters.Kind.SHIPPED
    assert adapters.use(paths, "starter", NAME).reranker == NAME
    assert load_active(paths) == Active.of_profile(starter)


def test_a_home_from_before_gets_it_by_setup(paths: Paths) -> None:
    starter = get_profile("starter")
    before = replace(Active.of_profile(starter), reranker=None)
    before.write(paths)
    active = load_active(paths)
    assert active == before
    assert active.reranker_dir(paths) is None
    assert problems(active, paths) == []
    assert activation(starter, paths).reranker == NAME


def test_setup_goes_on_without_an_adapter_that_is_no_longer_whole(paths: Paths) -> None:
    starter = get_profile("starter")
    replace(Active.of_profile(starter), adapter="mine").write(paths)
    folder = paths.adapters / "mine"
    folder.mkdir(parents=True)
    record = {
        "name": "mine",
        "slot": "adapter",
        "id": "maker/mine",
        "revision": "0" * 40,
        "licence": "none",
        "quantization": None,
        "source": "a test",
        "files": [],
        "installed": "2026-01-01T00:00:00+00:00",
    }
    (folder / RECORD_NAME).write_text(json.dumps(record))
    kept = activation(starter, paths)
    assert kept.adapter == "mine"
    assert given_up(kept, paths) == ""
    (folder / RECORD_NAME).unlink()
    without = activation(starter, paths)
    assert without.adapter == starter.adapter
    assert given_up(without, paths) == " mine cannot be used any more and is left out."
