"""Where the engine listens, and the small files that lead a front end to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import stat
import sys
import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.errors import EngineError
from medqa_tui.paths import Paths, ensure

if TYPE_CHECKING:
    from filelock import BaseFileLock

ANOTHER_RUNS = 75
"""Exit status of an engine that found another one in its place (EX_TEMPFAIL)."""

UNWRITABLE = 74
"""Exit status of an engine that could not write its files (EX_IOERR)."""

# sun_path holds 104 bytes on macOS and 108 on Linux, the closing NUL included.
_LONGEST_SOCKET_PATH = 100
_LOOPBACK = "127.0.0.1"


class Transport(StrEnum):
    """How front ends reach the engine."""

    SOCKET = "socket"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What a running engine says of itself on disk.

    Attributes:
        location: The path of the socket, or `127.0.0.1:port`; empty until it listens.
    """

    pid: int
    version: str
    transport: Transport
    location: str


def default_transport() -> Transport:
    """Return the Unix domain socket where there is one (asyncio has none on Windows)."""
    usable = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
    return Transport.SOCKET if usable else Transport.PORT


def private_folder(folder: Path) -> Path:
    """Create `folder` if need be and return it, once it is a real folder of this user's, mode 0700.

    Raises:
        EngineError: It is not safe; see `check_private`.
        MedQAError: It cannot be created.
    """
    ensure(folder)
    check_private(folder)
    if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def check_private(folder: Path) -> None:
    """See that nobody else can have put anything into `folder`; a missing one will do.

    Raises:
        EngineError: It is a link, not a folder, someone else's, or open to others' writing.
    """
    try:
        found = folder.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise _not_private(folder, "is not a folder")
    if _is_foreign(found):
        raise _not_private(folder, "belongs to another user")
    if os.name != "nt" and stat.S_IMODE(found.st_mode) & 0o022:
        close = f"See what is in it, then close it to others: chmod 700 {folder}"
        raise _not_private(folder, "can be written by other users", close)


def check_socket(location: Path) -> bool:
    """Return whether a socket of this user's is at `location`, in a folder nobody else can write.

    Raises:
        EngineError: It is someone else's, or in a folder that is not safe.
    """
    check_private(location.parent)
    try:
        found = location.lstat()
    except OSError:
        return False
    if _is_foreign(found):
        raise EngineError(
            "The engine's socket is not safe to use.",
            f"{location} belongs to another user.",
            f"Remove it: rm {location}",
        )
    return stat.S_ISSOCK(found.st_mode)


def _is_foreign(found: os.stat_result) -> bool:
    return hasattr(os, "getuid") and found.st_uid != os.getuid()


def socket_path(paths: Paths) -> Path:
    """Return where the socket goes: the runtime folder, or a short private one if that is too long.

    Raises:
        EngineError: Every short folder belongs to someone else, or is too long as well.
    """
    usual = paths.run / "engine.sock"
    if _fits(usual):
        return usual
    name = hashlib.sha256(os.fsencode(paths.run)).hexdigest()[:16] + ".sock"
    owner = os.getuid() if hasattr(os, "getuid") else 0
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108 - checked below
        short = Path(base) / f"medqa-tui-{owner}" / name
        if Path(base).is_dir() and _fits(short):
            private_folder(short.parent)
            return short
    raise EngineError(
        "There is no folder with a name short enough for the engine's socket.",
        f"{usual}.",
        "Set MEDQA_HOME to a folder with a shorter name.",
    )


def bind(paths: Paths, transport: Transport) -> tuple[socket.socket, str]:
    """Bind and return the listening socket and its location; only this user can connect.

    The caller holds the engine's lock, so a socket file that is already there is a dead one.

    Raises:
        EngineError: The address cannot be bound.
    """
    try:
        if transport is Transport.PORT:
            return _bind_port()
        return _bind_socket(socket_path(paths))
    except OSError as error:
        raise EngineError(
            "The engine could not open its socket.",
            f"{paths.run}: {error.strerror or error}.",
            "medqa-tui doctor",
        ) from error


def _bind_port() -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((_LOOPBACK, 0))
    return listener, f"{_LOOPBACK}:{listener.getsockname()[1]}"


def _bind_socket(path: Path) -> tuple[socket.socket, str]:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A folder, say. The record tells front ends where the socket is, so any name will do.
        path = path.with_name(f"{os.getpid()}.sock")
        path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode has to be right from the first moment; uvicorn would open a path of its own to all.
    before = os.umask(0o077)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    path.chmod(0o600)
    return listener, str(path)


def write_record(paths: Paths, record: EngineRecord) -> None:
    """Publish `record`, atomically and readable by this user only."""
    _write_private(record_file(paths), json.dumps(asdict(record)))


def read_record(paths: Paths) -> EngineRecord | None:
    """Return what the last engine left on disk, or None; the engine may be gone.

    Raises:
        EngineError: Someone else may have written it.
    """
    check_private(paths.run)
    try:
        if _is_foreign(record_file(paths).lstat()):
            raise _not_private(record_file(paths), "belongs to another user")
        row = json.loads(record_file(paths).read_text(encoding="utf-8"))
        return EngineRecord(
            int(row["pid"]), str(row["version"]), Transport(row["transport"]), str(row["location"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_token(paths: Paths) -> str:
    """Make a new bearer token, keep it in a file of mode 0600, and return it."""
    token = secrets.token_urlsafe(32)
    _write_private(token_file(paths), token)
    return token


def read_token(paths: Paths) -> str:
    """Return the engine's bearer token, or an empty text if there is none."""
    try:
        return token_file(paths).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def clear(paths: Paths, record: EngineRecord) -> None:
    """Remove what an engine that ends leaves on disk.

    Where someone has emptied the runtime folder meanwhile, what is there now is a successor's.
    """
    with contextlib.suppress(EngineError):
        found = read_record(paths)
        if found is not None and found.pid != record.pid:
            return
    leftovers = [record_file(paths), token_file(paths)]
    if record.transport is Transport.SOCKET and record.location:
        leftovers.append(Path(record.location))
    for path in leftovers:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def record_file(paths: Paths) -> Path:
    """Where the running engine's process id and address are written."""
    return paths.run / "engine.json"


def token_file(paths: Paths) -> Path:
    """Where the bearer token of the loopback port is written."""
    return paths.run / "engine.token"


def log_file(paths: Paths) -> Path:
    """Where the engine writes its log."""
    return paths.logs / "engine.log"


def engine_lock(paths: Paths, timeout: float) -> BaseFileLock:
    """Return the lock that an engine holds for life; the kernel frees it even after a kill -9."""
    from filelock import FileLock

    return FileLock(str(paths.run / "engine.lock"), timeout=timeout, mode=0o600)


def start_lock(paths: Paths, timeout: float) -> BaseFileLock:
    """Return the lock that a front end holds while it starts or replaces the engine."""
    from filelock import FileLock

    return FileLock(str(paths.run / "start.lock"), timeout=timeout, mode=0o600)


def engine_is_alive(paths: Paths) -> bool:
    """Return whether some process holds the engine's lock, answering or not.

    Raises:
        EngineError: The lock cannot be opened, so that nobody can tell.
    """
    from filelock import Timeout

    if not (paths.run / "engine.lock").exists():
        return False
    try:
        with engine_lock(paths, timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise EngineError(
            "The engine's lock cannot be opened.",
            f"{paths.run / 'engine.lock'}: {error.strerror or error}.",
            "medqa-tui doctor",
        ) from error


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH


def _write_private(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)


def _not_private(path: Path, why: str, hint: str = "") -> EngineError:
    return EngineError(
        "The engine's runtime folder is not safe to use.",
        f"{path} {why}.",
        hint or "Remove it, or set MEDQA_HOME to a folder of yours.",
    )
