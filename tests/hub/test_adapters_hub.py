"""`adapter download` and `adapter search --hub` against the loopback hub, by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .loopback import TOKEN, Fault, LoopbackHub

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from tiny_peft import write

ID = "someone/flu-lora"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def served(hub: LoopbackHub, tmp_path: Path) -> str:
    """The commit of a public adapter, served with what trainers leave beside one."""
    folder = write(tmp_path / "flu-lora", base_model_name_or_path=BASE)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    (folder / "optimizer.pt").write_bytes(b"\x80\x04.")
    return hub.add(ID, folder, tags=["peft", f"base_model:adapter:{BASE}", "license:mit"])


def run(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medqa_tui", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
        env={**os.environ, "MEDQA_HOME": str(home), **env},
    )


def names(home: Path) -> list[str]:
    folder = home / "data" / "adapters"
    return sorted(at.name for at in folder.iterdir() if at.name != ".lock")


def test_an_adapter_comes_by_its_id_and_is_recorded(
    hub: LoopbackHub, served: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = run(home, "adapter", "download", ID, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["adapter"]
    assert (row["id"], row["revision"], row["licence"]) == (ID, served, "mit")
    assert row["kind"] == "community"
    files = {at.name for at in (home / "data/adapters/flu-lora").iterdir()}
    assert files == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "install.json",
    }
    assert not hub.asked("*.bin")
    assert not hub.asked("*.pt")
    assert not (home / "cache/adapters/flu-lora").exists()
    fetched = len(hub.asked("*.safetensors"))
    again = run(home, "adapter", "download", ID)
    assert again.returncode == 0
    assert len(hub.asked("*.safetensors")) == fetched


def test_the_hub_is_searched_only_when_asked(hub: LoopbackHub, served: str, tmp_path: Path) -> None:
    run(tmp_path / "home", "adapter", "search", "flu")
    assert hub.requests == []
    done = run(tmp_path / "home", "adapter", "search", "flu", "--hub", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["hub"]
    assert (found["id"], found["base"], found["licence"]) == (ID, BASE, "mit")
    hub.fail("/api/models*", Fault.answer(500))
    failed = run(tmp_path / "home", "adapter", "search", "flu", "--hub")
    assert failed.returncode == 4
    assert "without --hub" in failed.stderr


def test_an_adapter_that_cannot_be_used_costs_no_weights(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("someone/ia3", write(tmp_path / "ia3", peft_type="IA3"))
    done = run(tmp_path / "home", "adapter", "download", "someone/ia3")
    assert done.returncode == 4
    assert "IA3" in done.stderr
    assert not hub.asked("*.safetensors")
    assert names(tmp_path / "home") == []


def test_a_repository_without_an_adapter_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    done = run(tmp_path / "home", "adapter", "download", "maker/model")
    assert done.returncode == 4
    assert names(tmp_path / "home") == []
    gone = run(tmp_path / "home", "adapter", "download", "maker/nothing")
    assert gone.returncode == 4


def test_weights_that_fit_no_such_base_are_refused_and_kept_nowhere(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add("someone/torn", write(tmp_path / "torn", {"x.lora_A.weight": (4, 4)}))
    home = tmp_path / "home"
    done = run(home, "adapter", "download", "someone/torn", "--base", BASE)
    assert done.returncode == 4
    assert names(home) == []
    assert list((home / "cache").rglob("*.safetensors")) == []


def test_a_gated_adapter_says_how_to_accept(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("someone/gated", write(tmp_path / "gated"), gated=True)
    home = tmp_path / "home"
    assert run(home, "adapter", "download", "someone/gated").returncode == 4
    hub.accept("someone/gated")
    env = hub.environment(tmp_path / "hf", TOKEN)
    env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = ""
    done = run(home, "adapter", "download", "someone/gated", **env)
    assert done.returncode == 0, done.stderr
