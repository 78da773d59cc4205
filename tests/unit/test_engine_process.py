"""How an engine came to its end, as far as a front end can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medqa_tui.engine import process, transport
from medqa_tui.engine.transport import EngineRecord, Transport
from medqa_tui.errors import EngineError
from medqa_tui.paths import Paths

STARTED = "2026-01-01 10:00:00,000 INFO engine 0.1.0 started: pid {pid}, profile starter\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(*(tmp_path / name for name in ("config", "data", "cache", "state", "run")))
    made.logs.mkdir(parents=True)
    transport.private_folder(made.run)
    return made


def logged(paths: Paths, *lines: str) -> None:
    transport.log_file(paths).write_text("".join(lines))


def test_its_own_last_words_come_first(paths: Paths) -> None:
    logged(
        paths,
        STARTED.format(pid=1),
        "2026-01-01 10:01:00,000 ERROR fatal: an earlier one\n",
        STARTED.format(pid=2),
        "2026-01-01 10:02:00,000 ERROR fatal: nothing moved for 120 s while searching\n",
        "Thread 0x1 (most recent call first):\n",
    )
    assert process.how_it_ended(paths, 2) == "nothing moved for 120 s while searching"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Segmentation fault", "SIGSEGV"),
        ("Aborted", "SIGABRT"),
        ("Illegal instruction", "SIGILL"),
        ("Bus error", "SIGBUS"),
    ],
)
def test_a_crash_in_native_code_is_called_by_its_signal(paths: Paths, said: str, name: str) -> None:
    logged(paths, STARTED.format(pid=2), f"Fatal Python error: {said}\n\n", "Thread 0x1:\n")
    assert process.how_it_ended(paths, 2) == f"a crash in native code ({name})"


def test_no_last_words_mean_that_it_was_killed(paths: Paths) -> None:
    logged(paths, STARTED.format(pid=1), "ERROR fatal: of another\n", STARTED.format(pid=2))
    assert process.how_it_ended(paths, 2) == process.KILLED
    assert process.how_it_ended(paths, None) is not None


def test_one_that_runs_on_was_not_killed(paths: Paths) -> None:
    logged(paths, STARTED.format(pid=2))
    transport.write_record(paths, EngineRecord(2, "0.1.0", Transport.PORT, "127.0.0.1:1"))
    with transport.engine_lock(paths, timeout=1):
        assert process.how_it_ended(paths, 2) == "it broke off, and runs on"
    assert process.how_it_ended(paths, 2) == process.KILLED


def test_one_that_left_was_not_killed(paths: Paths) -> None:
    logged(paths, STARTED.format(pid=2), "2026-01-01 10:02:00,000 INFO engine stopped\n")
    assert process.how_it_ended(paths, 2) == "it left"


def test_without_a_log_nothing_breaks(paths: Paths) -> None:
    assert process.how_it_ended(paths, 2) == process.KILLED
    assert process.how_it_started(paths, 1, 0) == "exit status 1: it said nothing"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_exit_status_of_a_killed_process_is_named() -> None:
    assert process.how(-signal.SIGKILL) == "killed, often for lack of memory (SIGKILL)"
    assert process.how(-signal.SIGSEGV) == "a crash in native code (SIGSEGV)"
    assert process.how(-signal.SIGTERM) == "ended by SIGTERM"
    assert process.how(0xC0000005) == "a crash in native code (status 0xc0000005)"
    assert process.crashed(0xC0000005)
    assert not process.crashed(2)


def test_a_full_disk_is_known_by_the_exit_status(paths: Paths) -> None:
    said = process.how_it_started(paths, transport.UNWRITABLE, 0)
    assert "perhaps the disk is full" in said


def test_a_process_id_that_another_program_has_now_is_left_alone(paths: Paths) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = EngineRecord(other.pid, "0.1.0", Transport.SOCKET, str(paths.run / "engine.sock"))
        transport.write_record(paths, record)
        with (
            transport.engine_lock(paths, timeout=1),
            pytest.raises(EngineError, match="something else holds its lock"),
        ):
            process.end(paths)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_log_that_cannot_be_written_is_done_without(paths: Paths) -> None:
    paths.logs.rmdir()
    paths.logs.write_text("a file where the folder goes")
    descriptor = process._open_log(paths)
    os.write(descriptor, b"said to nobody")
    os.close(descriptor)
