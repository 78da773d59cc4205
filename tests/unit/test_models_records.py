"""Install records and active.json: round trips, damage, and what counts as installed."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from wheelhouse import EMBEDDER_FILES, make_profile

from medqa_tui.errors import MedQAError
from medqa_tui.models.active import Active, forget, load_active, set_current
from medqa_tui.models.catalog import Component, HubSource, Profile
from medqa_tui.models.files import sync_tree, write_atomic
from medqa_tui.models.install import incoming_folder, install, remove_leftovers
from medqa_tui.models.records import RECORD_NAME, InstallRecord, installed_record
from medqa_tui.paths import Paths, get_paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    return get_paths()


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return make_profile(tmp_path / "wheels")


def put(models: Path, component: Component) -> InstallRecord:
    models.mkdir(parents=True, exist_ok=True)
    incoming = incoming_folder(models, component.name)
    for name, data in EMBEDDER_FILES.items():
        (incoming / name).parent.mkdir(exist_ok=True)
        (incoming / name).write_bytes(data)
    return install(incoming, models, component)


def test_a_record_survives_the_round_trip(paths: Paths, profile: Profile) -> None:
    written = put(paths.models, profile.embedder)
    folder = paths.models / profile.embedder.name
    assert InstallRecord.read(folder) == written
    assert written.size == sum(len(data) for data in EMBEDDER_FILES.values())
    assert {file.path for file in written.files} == set(EMBEDDER_FILES)
    assert profile.embedder.source.sha256 in written.source
    assert written.licence == "MIT"
    assert installed_record(paths.models, profile.embedder) == written
    assert written.problems(folder, deep=True) == []


def test_a_changed_byte_is_found_only_by_the_deep_look(paths: Paths, profile: Profile) -> None:
    record = put(paths.models, profile.embedder)
    folder = paths.models / profile.embedder.name
    weights = folder / "weights/model.bin"
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    assert record.problems(folder) == []
    (problem,) = record.problems(folder, deep=True)
    assert "SHA-256" in problem


@pytest.mark.parametrize("damage", ["missing", "shorter", "record", "revision"])
def test_what_is_not_whole_is_not_installed(paths: Paths, profile: Profile, damage: str) -> None:
    component = profile.embedder
    put(paths.models, component)
    folder = paths.models / component.name
    match damage:
        case "missing":
            (folder / "config.json").unlink()
        case "shorter":
            (folder / "weights/model.bin").write_bytes(b"")
        case "record":
            (folder / RECORD_NAME).write_text("{", encoding="utf-8")
        case "revision":
            component = replace(component, revision="tiny-embedder==2.0")
    assert installed_record(paths.models, component) is None


def test_installing_again_replaces_and_leaves_nothing_behind(
    paths: Paths, profile: Profile
) -> None:
    put(paths.models, profile.embedder)
    (paths.models / profile.embedder.name / "config.json").unlink()
    put(paths.models, profile.embedder)
    assert installed_record(paths.models, profile.embedder) is not None
    assert [path.name for path in paths.models.iterdir()] == [profile.embedder.name]


def test_leftovers_of_a_killed_run_go_and_nothing_else_does(paths: Paths, profile: Profile) -> None:
    put(paths.models, profile.embedder)
    incoming_folder(paths.models, profile.generator.name).joinpath("half").write_bytes(b"1")
    remove_leftovers(paths.models)
    assert [path.name for path in paths.models.iterdir()] == [profile.embedder.name]


def test_an_atomic_write_is_private_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    sync_tree(tmp_path)


def test_an_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError, match="file"):
        write_atomic(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_nothing_is_active_at_first(paths: Paths) -> None:
    assert load_active(paths) is None


def test_active_survives_the_round_trip(paths: Paths, profile: Profile) -> None:
    active = Active.of_profile(profile)
    active.write(paths)
    assert load_active(paths) == active
    assert stat.S_IMODE(paths.active_file.stat().st_mode) == 0o600
    assert active.generator_dir(paths) == paths.models / "tiny-generator-installed"
    assert active.embedder_dir(paths) == paths.models / "tiny-embedder-installed"
    assert active.index_dir(paths) == paths.indexes / "tiny"
    assert active.adapter_dir(paths) is None
    assert active.reranker_dir(paths) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        json.dumps({"schema_version": 1}),
        json.dumps(
            {
                "schema_version": 1,
                "profile": "p",
                "base": "a/b",
                "generator": "../../etc",
                "embedder": "e",
                "index": "i",
            }
        ),
        json.dumps(
            {
                "schema_version": 2,
                "profile": "p",
                "base": "a/b",
                "generator": "g",
                "embedder": "e",
                "index": "i",
            }
        ),
    ],
)
def test_a_bad_active_file_is_an_error_in_words(paths: Paths, text: str) -> None:
    paths.data.mkdir(parents=True)
    paths.active_file.write_text(text, encoding="utf-8")
    with pytest.raises(MedQAError) as caught:
        load_active(paths)
    assert "medqa-tui setup" in caught.value.hint


def test_several_profiles_are_kept_and_one_is_in_use(paths: Paths, profile: Profile) -> None:
    first = Active.of_profile(profile)
    second = replace(first, profile="other", generator="other-generator")
    first.write(paths)
    second.write(paths)
    assert load_active(paths) == first
    assert load_active(paths, "other") == second
    set_current(paths, "other")
    assert load_active(paths) == second
    assert load_active(paths, "tiny") == first
    # Writing one leaves the other and the choice alone.
    replace(first, adapter="mine").write(paths)
    assert load_active(paths) == second
    forget(paths, "other")
    assert load_active(paths) == replace(first, adapter="mine")
    forget(paths, "tiny")
    assert load_active(paths) is None


def test_what_an_earlier_version_wrote_is_read(paths: Paths, profile: Profile) -> None:
    active = Active.of_profile(profile)
    paths.data.mkdir(parents=True)
    row = {"schema_version": 1, **asdict(active)}
    paths.active_file.write_text(json.dumps(row), encoding="utf-8")
    assert load_active(paths) == active
    replace(active, profile="other").write(paths)
    assert load_active(paths) == active
    assert json.loads(paths.active_file.read_bytes())["schema_version"] == 2


def test_a_file_that_nobody_can_read_is_replaced(paths: Paths, profile: Profile) -> None:
    paths.data.mkdir(parents=True)
    paths.active_file.write_text("{", encoding="utf-8")
    Active.of_profile(profile).write(paths)
    assert load_active(paths) == Active.of_profile(profile)


def test_a_commit_of_the_hub_counts_as_the_branch_it_was(paths: Paths, profile: Profile) -> None:
    source = HubSource("maker/model", size=1)
    component = replace(profile.embedder, id="maker/model", revision="main", source=source)
    paths.models.mkdir(parents=True)
    incoming = incoming_folder(paths.models, component.name)
    (incoming / "config.json").write_text("{}", encoding="utf-8")
    commit = "0123456789" * 4
    record = install(incoming, paths.models, component, commit)
    assert record.revision == commit
    assert f"maker/model@{commit}" in record.source
    assert installed_record(paths.models, component) == record
    pinned = replace(component, revision=commit, source=replace(source, revision=commit))
    assert installed_record(paths.models, pinned) == record
    other = "9876543210" * 4
    moved = replace(component, revision=other, source=replace(source, revision=other))
    assert installed_record(paths.models, moved) is None


def test_active_says_what_is_missing(paths: Paths, profile: Profile) -> None:
    put(paths.models, profile.embedder)
    problems = Active.of_profile(profile).problems(paths)
    assert any("tiny-generator-installed" in problem for problem in problems)
    assert any("index" in problem for problem in problems)
    assert not any("tiny-embedder-installed" in problem for problem in problems)
