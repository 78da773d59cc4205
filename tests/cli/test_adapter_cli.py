"""`adapter` as a shell sees it: tables, JSON, exit codes, hints; no engine and no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from medqa_tui.models.active import load_active
from medqa_tui.models.catalog import get_profile

from .conftest import Program
from .small_home import paths_of

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from tiny_peft import safetensors, tensors, write, write_base

BASE = get_profile("starter").generator.id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter for the starter's model, as training left it."""
    return write(tmp_path / "flu-lora", card="", base_model_name_or_path=f"/tmp/{BASE}")


@pytest.fixture(autouse=True)
def model_files(request: pytest.FixtureRequest) -> None:
    """Where the small home is used, give its model the sizes that the adapters are for."""
    if "small_home" in request.fixturenames:
        home = request.getfixturevalue("small_home")
        write_base(paths_of(home).models / get_profile("starter").generator.name)


def chosen(home: Path) -> str | None:
    active = load_active(paths_of(home))
    assert active is not None
    return active.adapter


def test_the_life_of_an_adapter(small: Program, small_home: Path, folder: Path) -> None:
    added = small("adapter", "download", str(folder), "--json")
    assert added.returncode == 0, added.stderr
    row = json.loads(added.stdout)["adapter"]
    assert (row["name"], row["kind"], row["community"]) == ("flu-lora", "community", True)
    assert (row["base"], row["fits"], row["in_use"]) == (BASE, True, False)
    assert chosen(small_home) == "medqa-starter"

    used = small("adapter", "use", "flu-lora")
    assert used.returncode == 0, used.stderr
    assert chosen(small_home) == "flu-lora"
    assert "made by others" in used.stderr
    assert "quotes" not in used.stderr

    listed = small("adapter", "list", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)["adapters"]}
    assert rows["flu-lora"]["in_use"]
    assert not rows["medqa-starter"]["in_use"]
    table = small("adapter", "list").stdout
    assert "in use" in next(line for line in table.splitlines() if "flu-lora" in line)

    refused = small("adapter", "remove", "flu-lora")
    assert refused.returncode == 2
    assert "adapter use none" in refused.stderr
    assert small("adapter", "use", "none").returncode == 0
    assert chosen(small_home) is None
    removed = small("adapter", "remove", "flu-lora", "--json")
    assert json.loads(removed.stdout)["freed_bytes"] >= row["bytes"] > 0
    assert small("adapter", "info", "flu-lora").returncode == 2


def test_what_does_not_fit_is_refused_in_words(
    small: Program, small_home: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other", base_model_name_or_path="google/flan-t5-base", card=None)
    (other / "adapter_model.safetensors").write_bytes(safetensors(tensors()))
    added = small("adapter", "download", str(other))
    assert added.returncode == 0, added.stderr
    assert "classic" in added.stderr
    used = small("adapter", "use", "other")
    assert used.returncode == 2
    assert "google/flan-t5-base" in used.stderr
    assert chosen(small_home) == "medqa-starter"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("adapter", "use", "medqa-startr"), 2, "Did you mean medqa-starter?"),
        (("adapter", "use", "medqa-starter"), 3, "medqa-tui setup"),
        (("adapter", "remove", "medqa-starter"), 2, "part of the program"),
        (("adapter", "download", "./nowhere"), 2, "no such folder"),
        (("adapter", "download", "not an id"), 2, "no id on the model hub"),
        (("adapter", "download", "a/b", "--offline"), 2, "offline"),
        (("adapter", "search", "zebra"), 5, "--hub"),
        (("adapter", "search", "--hub", "--offline"), 2, "offline"),
        (("adapter", "lst"), 2, "list"),
    ],
)
def test_what_goes_wrong_on_a_fresh_machine(
    medqa: Program, words: tuple[str, ...], code: int, said: str
) -> None:
    done = medqa(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_known_adapters_are_found_without_a_network(medqa: Program) -> None:
    done = medqa("adapter", "search", "medical", "--base", "google/gemma-4-E2B-it")
    assert done.returncode == 0
    assert "fulvian/gemma-4-e2b-medical-qlora-adapter" in done.stdout
    assert "Not verified" in done.stdout
    found = json.loads(medqa("adapter", "search", "--json").stdout)["adapters"]
    assert len(found) >= 3
    assert all(row["community"] for row in found)
    assert medqa("adapter", "info", found[0]["id"]).returncode == 0


def test_json_errors_keep_their_shape(medqa: Program) -> None:
    done = medqa("adapter", "info", "nothing", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["exit_code"] == 2
