"""Who answers: the model, or quotes of the evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medqa_tui.config.schema import Settings
from medqa_tui.engine.installed import is_quoting
from medqa_tui.models.active import Active
from medqa_tui.models.catalog import get_profile, profiles

STARTER = Active.of_profile(get_profile("starter"))


def settings(generator: str) -> Settings:
    return Settings.model_validate({"answer": {"generator": generator}})


def test_the_starter_quotes_until_another_adapter_is_chosen() -> None:
    assert is_quoting(settings("auto"), STARTER)
    assert not is_quoting(settings("auto"), replace(STARTER, adapter="mine"))
    assert not is_quoting(settings("auto"), replace(STARTER, adapter=None))


def test_a_model_of_ones_own_answers() -> None:
    assert not is_quoting(settings("auto"), replace(STARTER, base="me/my-own-model"))
    assert not is_quoting(settings("auto"), replace(STARTER, profile="of-another-version"))


@pytest.mark.parametrize(
    "profile", [each for each in profiles() if each.name != "starter"], ids=str
)
def test_larger_models_write(profile: object) -> None:
    assert not is_quoting(settings("auto"), Active.of_profile(profile))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["starter", "gpu-12gb"])
def test_the_setting_decides(name: str) -> None:
    active = Active.of_profile(get_profile(name))
    assert is_quoting(settings("extractive"), active)
    assert not is_quoting(settings("model"), active)
