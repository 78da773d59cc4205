"""The card of an adapter: what it is refused on, and how damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medqa_tui.errors import MedQAError
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
