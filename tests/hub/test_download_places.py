"""Where the pieces of a download lie until it is whole: no file and no request takes another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .conftest import write_model
from .downloading import SOURCE, fetch, refused, same
from .loopback import Fault, LoopbackHub


def test_files_of_the_same_content_do_not_disturb_each_other(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "twins")
    weights = (folder / "model-00001-of-00002.safetensors").read_bytes()
    for number in range(3, 7):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(weights)
    hub.add("maker/twins", folder)
    fetch(tmp_path / "into", replace(SOURCE, repo="maker/twins"))
    assert same(tmp_path / "into", folder)


def test_what_another_request_left_is_not_taken_for_this_one(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    first = hub.add("maker/model", tmp_path / "served")
    second = hub.add("maker/model", write_model(tmp_path / "newer", seed=1))
    hub.fail("*.safetensors", Fault.answer(403))
    refused(tmp_path / "into", replace(SOURCE, revision=first))
    hub.heal()
    assert fetch(tmp_path / "into", replace(SOURCE, revision=second)).revision == second
    assert same(tmp_path / "into", tmp_path / "newer")
