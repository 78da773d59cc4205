"""What setup installs where a model cannot be made smaller on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.models.catalog import Conversion, HubSource, get_profile
from medqa_tui.models.hub import Patience, download_snapshot
from medqa_tui.models.records import InstallRecord, installed_record
from medqa_tui.paths import Paths, get_paths
from medqa_tui.setup.converting import convert, too_large_mark
from medqa_tui.setup.fetching import Workplace, is_fetched, is_verified

from .loopback import LoopbackHub

SOURCE = HubSource("maker/model", allow=("config.json", "*.safetensors", "README.md"))
COMPONENT = replace(
    get_profile("flashcards").generator, name="tiny", id="maker/model", source=SOURCE
)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    return get_paths()


def fetched(paths: Paths) -> str:
    """Download the model to where its conversion takes it from; returns the commit."""
    work = Workplace.of(paths)
    assert not is_fetched(work, COMPONENT)
    folder = work.members(COMPONENT)
    folder.parent.mkdir(parents=True)
    snapshot = download_snapshot(SOURCE, folder, patience=Patience(wait=0.0))
    assert is_fetched(work, COMPONENT)
    assert is_verified(work, COMPONENT)
    return snapshot.revision


def is_kept_as_it_came(paths: Paths, commit: str, served: Path) -> None:
    record = installed_record(paths.models, COMPONENT)
    assert record is not None
    assert record.revision == commit
    assert record.quantization is None
    folder = paths.models / COMPONENT.name
    assert {file.path for file in record.files} == {
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    for file in record.files:
        assert (folder / file.path).read_bytes() == (served / file.path).read_bytes()
    assert InstallRecord.read(folder) == record
    assert not is_fetched(Workplace.of(paths), COMPONENT)
    assert sorted(path.name for path in paths.models.iterdir()) == [COMPONENT.name]


def test_a_machine_that_is_too_small_keeps_the_model_as_it_came(
    hub: LoopbackHub, paths: Paths, tmp_path: Path
) -> None:
    assert COMPONENT.conversion is Conversion.DENSE_TO_NF4
    commit = fetched(paths)
    too_large_mark(paths, COMPONENT).touch()
    said = convert(COMPONENT, paths, lambda **message: None)
    assert "as it came" in said
    is_kept_as_it_came(paths, commit, tmp_path / "served")
    assert not too_large_mark(paths, COMPONENT).exists()


def test_a_model_that_cannot_be_quantized_is_kept_as_it_came(
    hub: LoopbackHub, paths: Paths, tmp_path: Path
) -> None:
    # Its configuration names an architecture that no library knows.
    commit = fetched(paths)
    said = convert(COMPONENT, paths, lambda **message: None)
    assert "as it came" in said
    is_kept_as_it_came(paths, commit, tmp_path / "served")
