"""The adapter that ships: its card and size, what it is refused on, how damage is noticed."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.generation import prompt
from medqa_tui.models.catalog import Component, profiles
from medqa_tui.models.files import sha256_file
from medqa_tui.models.shipped import AdapterCard, adapter_problems, shipped_folder

BASE = "example/base-model"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder as a shipped adapter has it."""
    folder = tmp_path / "an-adapter"
    folder.mkdir()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    card = {
        "name": "an-adapter",
        "title": "An adapter",
        "base": BASE,
        "base_revision": "1",
        "licence": "CC BY 4.0",
        "attribution": "Ours.",
        "template_sha256": "0" * 64,
        "weights_sha256": sha256_file(weights),
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def test_a_whole_adapter_on_its_base_has_no_problem(adapter: Path) -> None:
    assert AdapterCard.read(adapter).base == BASE
    assert adapter_problems(adapter, BASE, deep=True) == []


def test_another_base_is_refused_in_words(adapter: Path) -> None:
    (problem,) = adapter_problems(adapter, "example/another")
    assert BASE in problem
    assert "example/another" in problem


@pytest.mark.parametrize(("text", "bound"), [("", None), (', "abstain_logprob": -0.5', -0.5)])
def test_a_card_may_bound_how_readily_it_declines(
    adapter: Path, text: str, bound: float | None
) -> None:
    path = adapter / "card.json"
    path.write_text(path.read_text(encoding="utf-8").rstrip("}\n") + text + "}", encoding="utf-8")
    assert AdapterCard.read(adapter).abstain_logprob == bound


def test_another_revision_of_the_base_is_refused_in_words(adapter: Path) -> None:
    assert adapter_problems(adapter, BASE, revision="1") == []
    (problem,) = adapter_problems(adapter, BASE, revision="2")
    assert "made for 1, not for 2" in problem


def test_changed_and_missing_weights_are_noticed(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(b"weightz")
    assert adapter_problems(adapter, BASE) == []
    assert "SHA-256" in adapter_problems(adapter, BASE, deep=True)[0]
    weights.unlink()
    assert "missing" in adapter_problems(adapter, BASE)[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json"])
def test_an_unreadable_card_is_said(adapter: Path, text: str) -> None:
    (adapter / "card.json").write_text(text, encoding="utf-8")
    with pytest.raises(MedQAError, match="no readable card"):
        AdapterCard.read(adapter)
    assert "no readable card" in adapter_problems(adapter, BASE)[0]


def test_an_unknown_name_ships_nothing() -> None:
    assert shipped_folder("no-such-adapter") is None


SHIPPED = [
    (p.adapter, p.generator) for p in profiles() if p.adapter and p.adapter_component is None
]


def folder_of(name: str) -> Path:
    folder = shipped_folder(name)
    assert folder is not None
    return folder


def header(weights: Path) -> dict[str, dict[str, object]]:
    """Return the tensor table of a safetensors file, without reading a tensor."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        table: dict[str, dict[str, object]] = json.loads(file.read(length))
    table.pop("__metadata__", None)
    return table


@pytest.mark.parametrize(("name", "made"), SHIPPED)
def test_the_card_fits_the_profile_the_prompt_and_the_weights(name: str, made: Component) -> None:
    folder = folder_of(name)
    card = AdapterCard.read(folder)
    assert (card.base, card.base_revision) == (made.id, made.revision)
    assert card.template_sha256 == prompt.template_hash()
    assert card.weights_sha256 == sha256_file(folder / "adapter_model.safetensors")
    assert "CC BY 4.0" in card.attribution
    assert adapter_problems(folder, made.id, revision=made.revision, deep=True) == []


@pytest.mark.parametrize(("name", "made"), SHIPPED)
def test_it_is_small_in_bf16_and_names_no_path(name: str, made: Component) -> None:
    folder = folder_of(name)
    weights = folder / "adapter_model.safetensors"
    assert weights.stat().st_size < 10_000_000
    assert {row["dtype"] for row in header(weights).values()} == {"BF16"}
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == made.id
    for file in folder.glob("*.json"):
        assert '"/' not in file.read_text(encoding="utf-8"), file
