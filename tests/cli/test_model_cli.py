"""`model` as a shell sees it: profiles listed, chosen, exported, and removed with care."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from medqa_tui.models.active import load_active
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.shipped import shipped_folder

from .conftest import Program
from .small_home import paths_of

STARTER = get_profile("starter")


def add_second(home: Path) -> None:
    """Record a second profile that shares the embedder of the first."""
    paths = paths_of(home)
    active = load_active(paths)
    assert active is not None
    own = paths.models / "second-model"
    own.mkdir()
    (own / "weights").write_bytes(bytes(1000))
    other = replace(active, profile="gpu-6gb", generator="second-model", index="gpu-6gb")
    other.write(paths)


def test_profiles_are_listed(small: Program) -> None:
    done = small("model", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["profiles"]}
    assert set(rows) >= {"starter", "flashcards", "classic"}
    assert rows["starter"]["in_use"]
    assert rows["flashcards"]["state"] == "available"
    assert rows["flashcards"]["download_bytes"] > 1e9
    table = small("model", "list").stdout
    assert "in use" in next(line for line in table.splitlines() if line.startswith("starter"))


def test_a_profile_is_described(medqa: Program) -> None:
    done = medqa("model", "info", "flashcards")
    assert done.returncode == 0, done.stderr
    for part in get_profile("flashcards").components:
        assert part.id in done.stdout
        assert part.licence in done.stdout
    assert medqa("model", "info", "flashcard").returncode == 2


def test_choosing_needs_an_installed_profile(small: Program, small_home: Path) -> None:
    missing = small("model", "use", "flashcards")
    assert missing.returncode == 3
    assert "medqa-tui setup --profile flashcards" in missing.stderr
    add_second(small_home)
    assert small("model", "use", "gpu-6gb").returncode == 0
    assert small("config", "get", "profile").stdout.strip() == "gpu-6gb"
    active = load_active(paths_of(small_home))
    assert active is not None
    assert active.profile == "gpu-6gb"


def test_what_is_shared_goes_with_the_last_profile(small: Program, small_home: Path) -> None:
    add_second(small_home)
    paths = paths_of(small_home)
    embedder = paths.models / STARTER.embedder.name
    in_use = small("model", "remove", "starter")
    assert in_use.returncode == 2
    assert "model use gpu-6gb" in in_use.stderr
    for unasked in (("--json",), ()):
        refused = small("model", "remove", "gpu-6gb", *unasked)
        assert refused.returncode == 2
        assert "model remove gpu-6gb --yes" in refused.stderr + refused.stdout
        assert (paths.models / "second-model").is_dir()
    removed = small("model", "remove", "gpu-6gb", "--yes", "--json")
    assert removed.returncode == 0, removed.stderr
    assert json.loads(removed.stdout)["freed_bytes"] == 1000
    assert embedder.is_dir()
    assert not (paths.models / "second-model").exists()
    gone = small("model", "remove", "gpu-6gb")
    assert gone.returncode == 2
    assert "Nothing of this profile is installed" in gone.stderr
    forced = small("model", "remove", "starter", "--force")
    assert forced.returncode == 0, forced.stderr
    assert not embedder.exists()
    assert not (paths.indexes / "starter").exists()
    assert load_active(paths) is None
    assert [at.name for at in paths.models.iterdir()] == []
    # What ships with the program is not the profile's to delete.
    assert shipped_folder(str(STARTER.adapter)) is not None


def test_exporting_needs_a_profile_and_a_free_folder(
    medqa: Program, small: Program, tmp_path: Path
) -> None:
    done = medqa("model", "export", str(tmp_path / "usb"))
    assert done.returncode == 3
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear", encoding="utf-8")
    done = small("model", "export", str(tmp_path / "full"))
    assert done.returncode == 2
    assert "Something else" in done.stderr
    done = small("model", "export", str(tmp_path / "usb"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["profile"] == "starter"
    assert (tmp_path / "usb" / "bundle.json").is_file()
