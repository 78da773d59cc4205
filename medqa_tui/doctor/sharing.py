"""A report on this installation that can be shown to anybody: no question, no answer, no name."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check
from medqa_tui.errors import MedQAError
from medqa_tui.safety.sanitize import clean

if TYPE_CHECKING:
    from medqa_tui.paths import Paths

_LIBRARIES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "sentence-transformers",
    "hnswlib", "bm25s", "numpy", "huggingface_hub", "tokenizers", "safetensors", "textual",
    "typer", "pydantic", "starlette", "uvicorn", "httpx2",
)  # fmt: skip
_LOG_LINES = 40
# The lines that this program's logs are made of, and the frames of a traceback. Whatever else a
# library wrote there may repeat what it was given.
_OWN_LINE = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S* [A-Za-z]+"
    r"|\s+File \".*\", line \d+"
    r"|\s+\S+\.py:\d+ in \S+$"
    r"|\s+[\w.]+(Error|Exception|Interrupt|Exit)$"
    r"|Traceback \(most recent call last\):$"
    r"|Fatal Python error: |(Current t|T)hread 0x"
)
_LEFT_OUT = "[a line was left out: it may repeat a question]"
# A name that is also a common word would take that word out of every sentence.
_SHORTEST_NAME = 3
_SHORTEST_TEXT = 12


def compose(paths: Paths, checks: Sequence[Check], overrides: Mapping[str, object]) -> str:
    """Return the report as plain text.

    Args:
        checks: What the doctor found.
        overrides: Settings given by flags, for where each setting comes from.
    """
    sections = {
        "Program": _program(),
        "Checks": _checks(checks),
        "Installed": _installed(paths),
        "Settings": _settings(overrides),
        "Engine log": _log(paths.logs / "engine.log"),
        "Crashes of the command line": _log(paths.logs / "cli.log"),
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [f"medqa-tui report, {now}", "It holds no question and no answer."]
    for title, body in sections.items():
        lines += ["", title, "-" * len(title), *(body or ["nothing"])]
    return scrub("\n".join(map(_printable, lines)), _texts(paths)) + "\n"


def scrub(text: str, texts: Iterable[str] = ()) -> str:
    """Return `text` without the names of this user and machine, and without any of `texts`."""
    for private in sorted(set(texts), key=len, reverse=True):
        text = re.sub(re.escape(private), _LEFT_OUT, text, flags=re.IGNORECASE)
    homes = {str(Path.home()), str(Path.home().resolve())}
    for home in sorted(homes - {"/"}, key=len, reverse=True):
        text = text.replace(home, "~")
    for name, stands_for in _names():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", stands_for, text)
    # Whatever is left of somebody's folders: another user's, or a home reached by another path.
    return re.sub(r"((?:/home|/Users|[A-Z]:\\Users)[/\\])[^/\\\s\"',;]+", r"\1user", text)


def _names() -> list[tuple[str, str]]:
    found = []
    with suppress(OSError, KeyError, ImportError):
        found.append((getpass.getuser(), "user"))
    found.append((socket.gethostname(), "host"))
    found.append((socket.gethostname().partition(".")[0], "host"))
    return [(name, word) for name, word in found if len(name) >= _SHORTEST_NAME and name != "root"]


def _program() -> list[str]:
    from medqa_tui import __version__

    lines = [
        f"medqa-tui {__version__}",
        f"Python {sys.version.split()[0]} ({platform.python_implementation()}) at {sys.executable}",
        f"SQLite {sqlite3.sqlite_version}",
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs",
    ]
    with suppress(ImportError):
        import psutil

        lines.append(f"{psutil.virtual_memory().total / 1e9:.0f} GB memory")
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is missing")
    return lines


def _checks(checks: Sequence[Check]) -> list[str]:
    lines = []
    for check in checks:
        lines.append(f"{check.status.value:5} {check.name}: {check.detail}")
        if check.fix:
            lines.append(f"      fix: {check.fix}")
    return lines


def _installed(paths: Paths) -> list[str]:
    from medqa_tui.models.adapters import load_all
    from medqa_tui.models.records import InstallRecord

    lines = []
    for active in load_all(paths):
        parts = (
            f"generator {active.generator}", f"embedder {active.embedder}",
            f"adapter {active.adapter}", f"reranker {active.reranker}", f"index {active.index}",
        )  # fmt: skip
        lines.append(f"profile {active.profile}: {', '.join(parts)}")
    for place in (paths.models, paths.adapters):
        folders = sorted(place.iterdir()) if place.is_dir() else []
        for folder in folders:
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            record = InstallRecord.read(folder)
            if record is None:
                lines.append(f"{folder.name}: no install record")
                continue
            quantization = record.quantization or "as it came"
            lines.append(f"{record.slot} {record.id}, revision {record.revision}, {quantization}")
            lines.append(f"  {record.source}; licence {record.licence}; {record.installed}")
            lines += [f"  {file.path} {file.size} {file.sha256}" for file in record.files]
    return [*lines, *_indexes(paths)]


def _indexes(paths: Paths) -> list[str]:
    from medqa_tui.retrieval.manifest import IndexManifest

    lines = []
    for folder in sorted(paths.indexes.iterdir()) if paths.indexes.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            manifest = IndexManifest.read(folder)
        except MedQAError as error:
            lines.append(f"index {folder.name}: {error.title}")
            continue
        made = f"{manifest.embedder.id} ({manifest.embedder.revision})"
        counts = f"{manifest.passages} passages, {manifest.vectors} vectors"
        lines.append(f"index {folder.name}: {counts}, {made}, {manifest.created}")
        lines += [f"  {file.name} {file.size} {file.sha256}" for file in manifest.files]
    return lines


def _settings(overrides: Mapping[str, object]) -> list[str]:
    from medqa_tui.config.load import Origin, provenance

    try:
        found = provenance(overrides)
    except MedQAError as error:
        return [f"{error.title} {error.detail}"]
    # Where a server stands is nobody's business, and an address can hold a password.
    hidden = {item.key for item in found if item.key.startswith("remote.") and item.value}
    return [
        f"{item.key} = {'(set)' if item.key in hidden else repr(item.value)}"
        + (
            ""
            if item.origin is Origin.DEFAULT
            else f" ({item.origin.value} {item.detail})".rstrip()
        )
        for item in found
    ]


def _log(path: Path) -> list[str]:
    """Return the last lines of a log of ours, without what is not ours in it."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line if _OWN_LINE.match(line) else _LEFT_OUT for line in lines[-_LOG_LINES:]]


def _texts(paths: Paths) -> set[str]:
    """Return what was asked and answered here, as far as the history knows: it must not be told."""
    if not paths.history_db.exists():
        return set()
    try:
        uri = f"{paths.history_db.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            rows = connection.execute("SELECT question, text FROM turns").fetchall()
    except sqlite3.Error:
        return set()
    lines = (line.strip() for row in rows for text in row for line in str(text).splitlines())
    return {line for line in lines if len(line) >= _SHORTEST_TEXT}


def _printable(line: str) -> str:
    return clean(line, False)
