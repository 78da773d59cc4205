"""Downloading from the hub of the tests, and what is expected of it each time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medqa_tui.errors import ExitCode, MedQAError
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.hub import Patience, Snapshot, download_snapshot, downloaded

from .loopback import Fault, LoopbackHub

ALLOW = ("config.json", "*.safetensors", "tokenizer.json", "README.md")
SOURCE = HubSource("maker/model", allow=ALLOW)
QUICK = Patience(retries=2, wait=0.0, timeout=20.0)
FIRST = "*/model-00001-of-00002.safetensors"


def fetch(into: Path, source: HubSource = SOURCE, **more) -> Snapshot:
    return download_snapshot(source, into, patience=more.pop("patience", QUICK), **more)


def same(left: Path, right: Path) -> bool:
    names = {path.name for path in left.iterdir()}
    return names == {path.name for path in right.iterdir()} and all(
        (left / name).read_bytes() == (right / name).read_bytes() for name in names
    )


def refused(into: Path, source: HubSource = SOURCE, **more) -> MedQAError:
    """Download, expect to be told why not, and see that nothing half-made is there."""
    with pytest.raises(MedQAError) as caught:
        fetch(into, source, **more)
    assert not into.exists()
    assert downloaded(into) is None
    assert caught.value.title.endswith(".")
    assert caught.value.hint
    return caught.value


def refused_once(hub: LoopbackHub, tmp_path: Path, pattern: str, fault: Fault) -> MedQAError:
    """Download while `fault` holds, expect to be told why not, and to get all of it afterwards."""
    hub.fail(pattern, fault)
    said = refused(tmp_path / "into")
    assert said.exit_code == ExitCode.DOWNLOAD
    hub.heal()
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")
    return said


def kept_of(tmp_path: Path) -> dict[str, int]:
    """Return how many bytes of each served file an interrupted download has kept."""
    partial = tmp_path / ".into.partial"
    kept = {}
    for name in (path.name for path in (tmp_path / "served").iterdir()):
        part = f"parts/*-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        found = [*partial.glob(f"files/{name}"), *partial.glob(part)]
        kept[name] = sum(path.stat().st_size for path in found)
    return kept
