"""Where the engine listens, and what it leaves on disk."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medqa_tui.engine import connect, transport
from medqa_tui.engine.transport import EngineRecord, Transport
from medqa_tui.errors import EngineError
from medqa_tui.paths import Paths

NOBODY = 65534
as_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away"
)
posix = pytest.mark.skipif(os.name == "nt", reason="Unix domain sockets and modes")


def paths_in(home: Path) -> Paths:
    return Paths(*(home / name for name in ("config", "data", "cache", "state", "run")))


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that is short enough for a socket; it stands for the system's own.

    pytest's folder is asked for first, since it lies in the system's as well.
    """
    folder = Path("/tmp") / f"mq{os.getpid()}"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@posix
def test_a_short_runtime_folder_holds_the_socket(short: Path) -> None:
    assert transport.socket_path(paths_in(short)) == short / "run" / "engine.sock"


@posix
def test_a_long_path_falls_to_a_short_private_one(short: Path, tmp_path: Path) -> None:
    long = paths_in(tmp_path / ("x" * 100))
    found = transport.socket_path(long)
    assert len(os.fsencode(found)) <= 100
    assert found.is_relative_to(short)
    assert mode_of(found.parent) == 0o700
    assert found == transport.socket_path(long)
    assert found != transport.socket_path(paths_in(tmp_path / ("y" * 100)))


@posix
def test_a_short_folder_that_is_a_link_is_refused(short: Path, tmp_path: Path) -> None:
    (short / f"medqa-tui-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(EngineError, match="is not a folder"):
        transport.socket_path(paths_in(tmp_path / ("x" * 100)))


@posix
def test_a_folder_of_someone_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: me + 1)
    with pytest.raises(EngineError, match="another user"):
        transport.private_folder(tmp_path)


@posix
def test_a_folder_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    open_to_all = tmp_path / "run"
    open_to_all.mkdir(mode=0o755)
    transport.private_folder(open_to_all)
    assert mode_of(open_to_all) == 0o700


@posix
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o770)
    with pytest.raises(EngineError, match="can be written by other users") as caught:
        transport.private_folder(tmp_path / "run")
    assert caught.value.hint.endswith(f"chmod 700 {tmp_path / 'run'}")
    with pytest.raises(EngineError, match="not safe"):
        connect.status(paths_in(tmp_path))


@as_root
def test_what_another_user_left_is_never_asked(short: Path) -> None:
    paths = paths_in(short)
    transport.private_folder(paths.run)
    listener, location = transport.bind(paths, Transport.SOCKET)
    record = EngineRecord(os.getpid(), "0.1.0", Transport.SOCKET, location)
    with listener:
        listener.listen()
        listener.setblocking(False)
        transport.write_record(paths, record)
        for path in (Path(location), transport.record_file(paths), paths.run):
            os.chown(path, NOBODY, NOBODY)
            with pytest.raises(EngineError, match="belongs to another user"):
                connect.status(paths)
            with pytest.raises(EngineError, match="belongs to another user"):
                connect.use_adapter(paths, None)
            os.chown(path, os.getuid(), os.getgid())
        with pytest.raises(BlockingIOError):
            listener.accept()


@posix
def test_a_folder_in_the_sockets_place_is_gone_around(short: Path) -> None:
    paths = paths_in(short)
    (paths.run / "engine.sock" / "x").mkdir(parents=True)
    paths.run.chmod(0o700)
    listener, location = transport.bind(paths, Transport.SOCKET)
    with listener:
        assert Path(location).parent == paths.run
        assert Path(location).is_socket()
        assert mode_of(Path(location)) == 0o600


@posix
@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"\x16\x03\x01 no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"pid": "x"}',
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
    ],
)
def test_a_server_that_is_no_engine_is_nobody(short: Path, says: bytes) -> None:
    paths = paths_in(short)
    transport.private_folder(paths.run)
    listener, location = transport.bind(paths, Transport.SOCKET)
    listener.listen()
    over = threading.Event()

    def serve() -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(1000)
            client.sendall(says)
            # The last one never ends; it is hung up on.
            if len(says) > 1000:
                over.wait()

    server = threading.Thread(target=serve)
    server.start()
    transport.write_record(paths, EngineRecord(1, "0.1.0", Transport.SOCKET, location))
    try:
        assert connect.status(paths) is None
    finally:
        over.set()
        server.join()
        listener.close()


@posix
def test_a_file_in_the_sockets_place_is_no_engine(short: Path) -> None:
    paths = paths_in(short)
    transport.private_folder(paths.run)
    place = paths.run / "engine.sock"
    place.write_text("not a socket")
    transport.write_record(paths, EngineRecord(1, "0.1.0", Transport.SOCKET, str(place)))
    assert connect.status(paths) is None


@posix
def test_a_socket_is_for_its_owner_and_replaces_a_dead_one(short: Path) -> None:
    paths = paths_in(short)
    transport.private_folder(paths.run)
    first, location = transport.bind(paths, Transport.SOCKET)
    first.close()
    assert Path(location).is_socket()
    second, again = transport.bind(paths, Transport.SOCKET)
    with second:
        assert again == location
        assert mode_of(Path(location)) == 0o600
        second.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(location)


def test_a_port_is_on_the_loopback_address(tmp_path: Path) -> None:
    listener, location = transport.bind(paths_in(tmp_path), Transport.PORT)
    with listener:
        assert location == f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_record_round_trips_and_is_private(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    transport.private_folder(paths.run)
    record = EngineRecord(1234, "9.9.9", Transport.PORT, "127.0.0.1:1")
    transport.write_record(paths, record)
    token = transport.write_token(paths)
    assert transport.read_record(paths) == record
    assert transport.read_token(paths) == token
    assert len(token) >= 32
    if os.name != "nt":
        assert mode_of(transport.record_file(paths)) == 0o600
        assert mode_of(transport.token_file(paths)) == 0o600
    transport.clear(paths, record)
    assert transport.read_record(paths) is None
    assert transport.read_token(paths) == ""


def test_a_successor_keeps_what_is_its_own(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    transport.private_folder(paths.run)
    successor = EngineRecord(2, "0.1.0", Transport.PORT, "127.0.0.1:2")
    transport.write_record(paths, successor)
    transport.clear(paths, EngineRecord(1, "0.1.0", Transport.PORT, "127.0.0.1:1"))
    assert transport.read_record(paths) == successor


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    paths = paths_in(tmp_path)
    transport.private_folder(paths.run)
    transport.record_file(paths).write_text(text)
    assert transport.read_record(paths) is None


def test_the_lock_tells_whether_an_engine_is_there(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    assert not transport.engine_is_alive(paths)
    transport.private_folder(paths.run)
    with transport.engine_lock(paths, timeout=0):
        assert transport.engine_is_alive(paths)
    assert not transport.engine_is_alive(paths)


def test_a_lock_that_cannot_be_opened_is_said_in_words(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    # A folder in the lock's place fails for everybody, root included.
    (paths.run / "engine.lock").mkdir(parents=True)
    with pytest.raises(EngineError) as caught:
        transport.engine_is_alive(paths)
    assert "engine.lock" in caught.value.detail


def test_windows_gets_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert transport.default_transport() is Transport.PORT


@posix
def test_others_get_a_socket() -> None:
    assert transport.default_transport() is Transport.SOCKET
