"""Which profile is proposed for which machine, and with which reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.setup import machine
from medqa_tui.setup.machine import Gpu
from medqa_tui.setup.proposal import Machine, propose

ROOM = 500 * 10**9


def answers(source) -> str:
    return ""


def silent(source) -> str:
    return "no route"


def at(vram: int | None, free: int = ROOM) -> Machine:
    gpu = None if vram is None else Gpu("Test GPU", vram)
    return Machine(gpu=gpu, memory_mb=16_000, free_bytes=free)


@pytest.mark.parametrize(
    ("vram", "name"),
    [
        (None, "starter"),
        (2_000, "starter"),
        # The profile for 4 GB has a community adapter, which nobody here has measured.
        (4_300, "starter"),
        (6_400, "gpu-6gb"),
        (12_800, "gpu-12gb"),
        (16_000, "gpu-12gb"),
        (25_700, "gpu-24gb"),
        (80_000, "gpu-24gb"),
    ],
)
def test_the_largest_that_fits_is_proposed(vram: int | None, name: str) -> None:
    found = propose(at(vram), answers)
    assert found.profile == name
    assert found.reason.endswith(".")


def test_a_small_disk_asks_for_less() -> None:
    found = propose(at(25_000, free=30 * 10**9), answers)
    assert found.profile == "gpu-12gb"
    assert "gpu-24gb" in found.reason
    assert "disk" in found.reason
    assert propose(at(25_000, free=10**9), answers).profile == "starter"


def test_without_a_hub_there_is_the_package_index() -> None:
    found = propose(at(25_000), silent)
    assert found.profile == "starter"
    assert "no route" in found.reason


def test_a_gpu_that_torch_cannot_use_is_named() -> None:
    found = propose(Machine(None, 16_000, ROOM, unused_gpu=Gpu("Test GPU", 8_000)), answers)
    assert found.profile == "starter"
    assert "Test GPU" in found.reason
    assert "CPU build" in found.reason


def _program(folder: Path, text: str) -> None:
    folder.mkdir()
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("echo 'NVIDIA GeForce RTX 3060, 12288'", Gpu("NVIDIA GeForce RTX 3060", 12_884)),
        ("echo 'No devices were found'", None),
        ("exit 9", None),
    ],
)
def test_the_gpu_is_what_the_driver_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, gpu: Gpu | None
) -> None:
    _program(tmp_path / "bin", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin{os.pathsep}/usr/bin")
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "no driver")
    assert machine.find_gpu() == gpu


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
def test_auto_says_what_it_chose(tmp_path: Path) -> None:
    _program(tmp_path / "bin", "echo 'Test GPU, 12288'")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MEDQA_")}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    own = {"MEDQA_HOME": str(tmp_path / "home"), "PATH": path, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "medqa_tui", "setup", "--profile", "auto", "--dry-run", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **own},
    )
    assert done.returncode == 0, done.stderr
    # The hub may not be asked here, so it is the profile of the package index; the reason is said.
    assert json.loads(done.stdout)["profile"] == "starter"
    assert "Test GPU" in done.stderr
