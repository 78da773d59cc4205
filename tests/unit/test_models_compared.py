"""The record of a comparison beside an adapter, and what it keeps out of use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_peft import home_in_use, write

from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.models import adapter_install, adapters, compared
from medqa_tui.models.active import load_active
from medqa_tui.models.compared import Compared
from medqa_tui.paths import Paths

WORSE = "new passes 9 of 19 safety cases and base 12; it fails dose-unknown."


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A home with two adapters, of which none is in use."""
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    paths = home_in_use()
    for name in ("new", "old"):
        adapter_install.add_folder(paths, write(tmp_path / name))
    return paths


def keep(paths: Paths, against: str, *regressions: str, sha256: str = "") -> Path:
    told = Compared(against, sha256, "starter", "0" * 64, (50, 50), 60, "now", {}, regressions)
    return compared.write(paths, adapters.get(paths, "new"), told)


def in_use(paths: Paths) -> str | None:
    active = load_active(paths)
    assert active is not None
    return active.adapter


def test_what_was_never_compared_is_used(paths: Paths) -> None:
    active = load_active(paths)
    assert active is not None
    assert compared.standing(paths, adapters.get(paths, "new"), active) is None
    assert adapters.use(paths, None, "new").adapter == "new"


def test_what_is_worse_is_not_used_unless_it_is_forced(paths: Paths) -> None:
    file = keep(paths, compared.BASE, WORSE)
    assert file.parent == paths.adapters / "new"
    with pytest.raises(MedQAError) as refused:
        adapters.use(paths, None, "new")
    assert refused.value.exit_code == ExitCode.FAILURE
    assert refused.value.detail == WORSE
    assert "adapter use new --force" in refused.value.hint
    assert in_use(paths) is None
    assert adapters.use(paths, None, "new", force=True).adapter == "new"
    # Once in use, choosing it again changes nothing, and is no harm.
    assert adapters.use(paths, None, "new").adapter == "new"
    assert adapters.use(paths, None, None).adapter is None


def test_the_adapter_in_use_counts_before_the_base(paths: Paths) -> None:
    old = compared.fingerprint(paths.adapters / "old")
    keep(paths, compared.BASE)
    keep(paths, "old", WORSE, sha256=old)
    assert adapters.use(paths, None, "new").adapter == "new", "base is what was in use"
    adapters.use(paths, None, "old")
    with pytest.raises(MedQAError, match="worse than old"):
        adapters.use(paths, None, "new")
    # A comparison with what the other adapter was says nothing of what it is.
    keep(paths, "old", WORSE, sha256="another")
    assert adapters.use(paths, None, "new").adapter == "new"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_record_of_what_an_adapter_was_is_void(paths: Paths, name: str) -> None:
    keep(paths, compared.BASE, WORSE)
    file = paths.adapters / "new" / name
    if name.endswith(".json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 16}))
    else:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    assert compared.read(paths, adapters.get(paths, "new")) == ()
    assert adapters.use(paths, None, "new").adapter == "new"


def test_a_later_comparison_takes_the_place_of_an_earlier_one(paths: Paths) -> None:
    keep(paths, compared.BASE, WORSE)
    keep(paths, "old", sha256="x")
    keep(paths, compared.BASE)
    found = compared.read(paths, adapters.get(paths, "new"))
    assert [(each.against, each.regressions) for each in found] == [("old", ()), ("base", ())]
    assert found[1].questions == (50, 50)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_a_damaged_record_stands_in_nobodys_way(paths: Paths, text: str) -> None:
    keep(paths, compared.BASE, WORSE).write_text(text)
    assert compared.read(paths, adapters.get(paths, "new")) == ()
    assert adapters.use(paths, None, "new").adapter == "new"


def test_one_that_ships_has_its_record_in_the_data_folder(paths: Paths) -> None:
    told = Compared(compared.BASE, "", "starter", "0" * 64, (1, 1), 60, "now", {}, (WORSE,))
    shipped = adapters.get(paths, "medqa-starter")
    file = compared.write(paths, shipped, told)
    assert file.is_relative_to(paths.data)
    assert compared.read(paths, shipped) == (told,)
