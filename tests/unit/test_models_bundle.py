"""Bundles: the round trip, going on after a stop, and folders that mean harm."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_peft
from forged_bundles import (
    Edit,
    change,
    damage_folder,
    damage_link,
    damage_missing,
    damage_shorter,
    forge,
    set_key,
)
from wheelhouse import EMBEDDER_FILES, make_profile

from medqa_tui.errors import MedQAError, NotSetUpError, UsageError
from medqa_tui.models import adapter_install, adapters, bundle_files
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.bundle import export_bundle, install_bundle, read_bundle
from medqa_tui.models.catalog import Profile, WheelSource
from medqa_tui.models.files import Cancelled
from medqa_tui.models.install import incoming_folder, install, remove_leftovers
from medqa_tui.models.records import InstallRecord
from medqa_tui.paths import Paths

FILES = {name.replace(".bin", ".safetensors"): data for name, data in EMBEDDER_FILES.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """A profile, and a home with it installed and an added adapter in use; copied by each test."""
    root = tmp_path_factory.mktemp("made")
    profile = make_profile(root / "wheels")
    source = profile.embedder.source
    assert isinstance(source, WheelSource)
    members = tuple(replace(m, path=m.path.replace(".bin", ".safetensors")) for m in source.members)
    embedder = replace(profile.embedder, source=replace(source, members=members))
    profile = replace(profile, embedder=embedder)
    paths = paths_of(root / "home")
    paths.models.mkdir(parents=True)
    for component in (profile.generator, profile.embedder):
        incoming = incoming_folder(paths.models, component.name)
        for name, data in FILES.items():
            (incoming / name).parent.mkdir(exist_ok=True)
            (incoming / name).write_bytes(data)
        install(incoming, paths.models, component)
    active = Active.of_profile(profile)
    active.write(paths)
    mine = tiny_peft.write(root / "mine", card="", base_model_name_or_path=active.base)
    adapter_install.add_folder(paths, mine)
    replace(active, adapter="mine").write(paths)
    return profile, root / "home"


def paths_of(home: Path) -> Paths:
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


@pytest.fixture
def profile(made: tuple[Profile, Path], monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setattr(bundle_files, "get_profile", lambda name, base="": made[0])
    return made[0]


@pytest.fixture
def paths(tmp_path: Path, made: tuple[Profile, Path], profile: Profile) -> Paths:
    shutil.copytree(made[1], tmp_path / "home")
    return paths_of(tmp_path / "home")


@pytest.fixture
def other(tmp_path: Path) -> Paths:
    """A machine on which nothing was ever done."""
    return paths_of(tmp_path / "other")


@pytest.fixture
def out(tmp_path: Path, paths: Paths) -> Path:
    """A whole bundle."""
    export_bundle(paths, None, tmp_path / "usb")
    return tmp_path / "usb"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_round_trip_gives_the_same_files_and_records(
    paths: Paths, other: Paths, out: Path, profile: Profile
) -> None:
    counts: list[tuple[int, int]] = []
    found = read_bundle(out)
    install_bundle(found, other, lambda done, total: counts.append((done, total)))
    assert tree(other.models) == tree(paths.models)
    assert tree(other.adapters) == tree(paths.adapters)
    assert found.active == load_active(paths)
    assert found.active.adapter == "mine"
    assert counts[-1] == (found.size, found.size)
    record = InstallRecord.read(other.models / profile.generator.name)
    assert record is not None
    assert record.problems(other.models / profile.generator.name, deep=True) == []
    assert load_active(other) is None


def test_installing_again_touches_nothing(other: Paths, out: Path, profile: Profile) -> None:
    install_bundle(read_bundle(out), other)
    before = (other.models / profile.generator.name).stat().st_ino
    install_bundle(read_bundle(out), other)
    assert (other.models / profile.generator.name).stat().st_ino == before


def test_exporting_again_copies_only_what_changed(paths: Paths, out: Path) -> None:
    kept = {path: path.stat().st_ino for path in out.rglob("config.json")}
    broken = next(out.rglob("model.safetensors"))
    broken.write_bytes(b"x" * broken.stat().st_size)
    export_bundle(paths, None, out)
    assert {path: path.stat().st_ino for path in out.rglob("config.json")} == kept
    assert broken.read_bytes() == FILES["weights/model.safetensors"]
    read_bundle(out)


def test_a_stopped_export_is_no_bundle_and_goes_on(paths: Paths, tmp_path: Path) -> None:
    cancel = threading.Event()
    folder = tmp_path / "usb"
    with pytest.raises(Cancelled, match="export"):
        export_bundle(paths, None, folder, lambda done, total: cancel.set(), cancel)
    with pytest.raises(UsageError, match="not finished"):
        read_bundle(folder)
    export_bundle(paths, None, folder)
    assert not list(folder.rglob("*.partial"))
    read_bundle(folder)


def test_a_stopped_installation_leaves_no_half_folder(other: Paths, out: Path) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        install_bundle(read_bundle(out), other, lambda done, total: cancel.set(), cancel)
    assert [at.name for at in other.models.iterdir() if at.name.startswith(".")] == []
    install_bundle(read_bundle(out), other)
    remove_leftovers(other.models)


def test_what_is_installed_must_be_what_was_installed(paths: Paths, tmp_path: Path) -> None:
    weights = next(paths.models.rglob("model.safetensors"))
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(MedQAError, match="not what was installed"):
        export_bundle(paths, None, tmp_path / "usb")
    weights.unlink()
    with pytest.raises(MedQAError, match="damaged"):
        export_bundle(paths, None, tmp_path / "usb")


def test_a_profile_that_is_not_installed(paths: Paths, other: Paths, tmp_path: Path) -> None:
    for where, name in ((paths, "flashcards"), (other, None)):
        with pytest.raises(NotSetUpError):
            export_bundle(where, name, tmp_path / "usb")
    assert not (tmp_path / "usb").exists()


def test_a_folder_with_something_else_is_not_touched(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear", encoding="utf-8")
    with pytest.raises(UsageError, match="Something else"):
        export_bundle(paths, None, tmp_path / "letters")
    with pytest.raises(UsageError, match="no folder"):
        export_bundle(paths, None, tmp_path / "letters" / "dear.txt")
    with pytest.raises(UsageError, match="own folder"):
        export_bundle(paths, None, paths.data / "usb")
    assert [at.name for at in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_one_folder_holds_one_profile(paths: Paths, out: Path) -> None:
    active = load_active(paths)
    assert active is not None
    replace(active, profile="second").write(paths, current=True)
    with pytest.raises(UsageError, match="another profile"):
        export_bundle(paths, "second", out)


def test_a_re_ranker_trained_here_travels_without_a_record(
    paths: Paths, other: Paths, tmp_path: Path, profile: Profile
) -> None:
    folder = tiny_peft.write(paths.adapters / "my-reranker", card=None, task_type="SEQ_CLS")
    weights = (folder / "adapter_model.safetensors").read_bytes()
    embedder = profile.embedder
    card = {
        "name": "my-reranker",
        "kind": "reranker",
        "title": "Mine",
        "base": embedder.id,
        "base_revision": embedder.revision,
        "licence": "MIT",
        "attribution": "Mine.",
        "template_sha256": "",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    active = load_active(paths)
    assert active is not None
    replace(active, reranker="my-reranker").write(paths)
    export_bundle(paths, None, tmp_path / "usb")
    found = read_bundle(tmp_path / "usb")
    install_bundle(found, other)
    assert tree(other.adapters) == tree(paths.adapters)
    install_bundle(found, other)
    forge_card = tmp_path / "usb" / "adapters" / "my-reranker" / "card.json"
    forge(tmp_path / "usb", forge_card, json.dumps(card | {"base": "maker/other"}).encode())
    with pytest.raises(MedQAError):
        install_bundle(read_bundle(tmp_path / "usb"), other)


# -- harm ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "models/../../x/y",
        "models/x/../../y/z",
        "models/./x/y",
        "models//x/y",
        "models/.hidden/y",
        "config/config.toml/x",
        "active.json",
        "models/x",
        "models\\x\\y",
        "models/x/C:y",
        "models/x/y\x1b[31m",
        "models/x/" + "y" * 400,
        "models/x/weights.bin",
        "models/x/modeling.py",
        "models/x/model.PKL",
        7,
        None,
    ],
)
def test_a_path_that_leads_elsewhere_or_runs_is_refused(out: Path, path: object) -> None:
    change(out, set_key("files", 0, "path", value=path))
    with pytest.raises(MedQAError):
        read_bundle(out)


@pytest.mark.parametrize(
    "edit",
    [
        set_key("kind", value="something"),
        set_key("schema_version", value=9),
        set_key("files", value=[]),
        set_key("files", value="x"),
        set_key("files", 0, "size", value=-1),
        set_key("files", 0, "size", value=True),
        set_key("files", 0, "sha256", value="0"),
        set_key("files", 0, "sha256", value=None),
        set_key("active", "generator", value="../x"),
        set_key("active", "adapter", value="a/b"),
        set_key("active", value=None),
        lambda row: row["files"].append(dict(row["files"][0])),
        lambda row: row.pop("active"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(out: Path, other: Paths, edit: Edit) -> None:
    change(out, edit)
    with pytest.raises(MedQAError):
        install_bundle(read_bundle(out), other)
    assert not other.models.exists() or list(other.models.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 50000])
def test_a_list_that_is_none_is_refused(out: Path, text: str) -> None:
    (out / "bundle.json").write_text(text, encoding="utf-8")
    with pytest.raises(MedQAError):
        read_bundle(out)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_missing, "missing"),
        (damage_shorter, "bytes instead of"),
        (damage_link, "link"),
        (damage_folder, "link"),
    ],
)
def test_missing_shorter_and_linked_files_are_refused(
    out: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(next(out.rglob("model.safetensors")))
    with pytest.raises(MedQAError, match="not what was exported") as caught:
        read_bundle(out)
    assert said in caught.value.detail


def test_a_changed_file_is_found_while_it_is_copied(out: Path, other: Paths) -> None:
    weights = next(out.rglob("model.safetensors"))
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(MedQAError, match="not what was exported"):
        install_bundle(read_bundle(out), other)
    left = [at.name for at in other.models.iterdir() if at.name.startswith(".")]
    assert left == []


def test_a_forged_model_that_is_pinned_is_refused(
    out: Path, other: Paths, profile: Profile
) -> None:
    forge(out, out / "models" / profile.embedder.name / "config.json", b'{"a": 1}')
    with pytest.raises(MedQAError, match="not what was exported") as caught:
        install_bundle(read_bundle(out), other)
    assert "pinned" in caught.value.detail


def test_a_forged_adapter_is_checked_like_any_other(out: Path, other: Paths) -> None:
    config = out / "adapters" / "mine" / "adapter_config.json"
    row = json.loads(config.read_bytes()) | {"peft_type": "IA3"}
    forge(out, config, json.dumps(row).encode())
    with pytest.raises(MedQAError, match="cannot be used"):
        install_bundle(read_bundle(out), other)
    assert not (other.adapters / "mine").exists()


def test_another_model_of_that_name_is_not_replaced(
    paths: Paths, other: Paths, tmp_path: Path, profile: Profile
) -> None:
    trained = paths.models / "my-model"
    shutil.copytree(paths.models / profile.generator.name, trained)
    active = load_active(paths)
    assert active is not None
    replace(active, generator="my-model").write(paths)
    export_bundle(paths, None, tmp_path / "usb")
    found = read_bundle(tmp_path / "usb")
    theirs = other.models / "my-model"
    theirs.mkdir(parents=True)
    (theirs / "weights").write_bytes(b"learnt here")
    with pytest.raises(UsageError, match="another model of that name"):
        install_bundle(found, other)
    assert tree(theirs) == {"weights": b"learnt here"}
    shutil.rmtree(theirs)
    install_bundle(found, other)
    assert tree(theirs) == tree(trained)
    # The same one, damaged, is put right.
    next(theirs.rglob("config.json")).unlink()
    install_bundle(found, other)
    assert tree(theirs) == tree(trained)


def test_another_adapter_of_that_name_is_not_replaced(
    out: Path, other: Paths, tmp_path: Path, profile: Profile
) -> None:
    source = tiny_peft.write(tmp_path / "theirs", card="")
    adapter_install.add_folder(other, source, name="mine", base=profile.generator.id)
    with pytest.raises(UsageError, match="another adapter of that name"):
        install_bundle(read_bundle(out), other)
    assert adapters.get(other, "mine").size > 0


def test_a_bundle_of_another_revision_is_refused(
    out: Path, other: Paths, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(profile, generator=replace(profile.generator, revision="tiny==2.0"))
    monkeypatch.setattr(bundle_files, "get_profile", lambda name, base="": newer)
    with pytest.raises(MedQAError, match="does not hold"):
        install_bundle(read_bundle(out), other)
