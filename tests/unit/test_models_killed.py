"""kill -9 at each step of adding, removing and carrying: nothing half-made is ever in use."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_peft
from tiny_peft import BASE, write_base

from medqa_tui.models import adapter_install, adapters, bundle, install
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.install import remove_leftovers
from medqa_tui.models.library import remove as remove_profile
from medqa_tui.models.records import InstalledFile, InstallRecord
from medqa_tui.paths import Paths

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    home = tmp_path / "home"
    paths = Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")
    active = Active("starter", BASE, "tiny", "embedder", "starter")
    for name in (active.generator, active.embedder):
        folder = write_base(paths.models / name)
        listed = folder / "config.json"
        digest = hashlib.sha256(listed.read_bytes()).hexdigest()
        files = (InstalledFile(listed.name, listed.stat().st_size, digest),)
        record = InstallRecord(name, "generator", BASE, "1", "MIT", None, "test", files, "now")
        record.write(folder)
    active.write(paths)
    return paths


def killed(at: tuple[Any, str], action: Callable[[], object]) -> None:
    """Run `action` in a process of its own that dies by SIGKILL when it comes to `at`."""
    owner, name = at
    child = os.fork()
    if child == 0:
        setattr(owner, name, lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL))
        try:
            action()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def added(paths: Paths) -> list[str]:
    return [each.name for each in adapters.installed(paths) if each.kind != "shipped"]


@pytest.mark.parametrize("step", ["_bind", "check", "_record", "sync_tree", "place"])
def test_adding_is_whole_or_not_at_all(paths: Paths, tmp_path: Path, step: str) -> None:
    source = tiny_peft.write(tmp_path / "mine")
    killed((adapter_install, step), lambda: adapter_install.add_folder(paths, source))
    assert added(paths) == []
    adapter_install.add_folder(paths, source)
    assert added(paths) == ["mine"]
    assert [at.name for at in paths.adapters.iterdir() if at.name.startswith(".inc")] == []


@pytest.mark.parametrize("step", [(install.tempfile, "mkdtemp"), (install, "sync_folder")])
def test_removing_breaks_no_profile(paths: Paths, tmp_path: Path, step: tuple[Any, str]) -> None:
    adapter_install.add_folder(paths, tiny_peft.write(tmp_path / "mine"))
    adapters.use(paths, None, "mine")
    killed(step, lambda: adapters.remove(paths, "mine", force=True))
    active = load_active(paths)
    assert active is not None
    assert active.adapter is None
    if "mine" in added(paths):
        adapters.remove(paths, "mine")
    assert added(paths) == []


def test_a_profile_is_forgotten_before_its_files_go(paths: Paths) -> None:
    from medqa_tui.models import library

    killed((library, "_delete"), lambda: remove_profile(paths, "starter", "", force=True))
    assert load_active(paths) is None
    remove_leftovers(paths.models)


@pytest.mark.parametrize("step", ["write_atomic", "_described", "sync_folder"])
def test_an_export_is_no_bundle_before_its_end(paths: Paths, tmp_path: Path, step: str) -> None:
    usb = tmp_path / "usb"
    killed((bundle, step), lambda: bundle.export_bundle(paths, None, usb))
    assert not (usb / "bundle.json").exists()
    bundle.export_bundle(paths, None, usb)
    assert bundle.read_bundle(usb).profile == "starter"
    assert list(usb.rglob("*.partial")) == []
