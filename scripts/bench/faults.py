"""Every fault of the engine, for real, through the installed program: what a user sees of it.

Works on a copy of the folder in MEDQA_HOME, which must be set up and stays as it is. Engines are
killed, suspended and starved; where a fault has to strike at one certain moment, it is injected
from outside the program (see engine_faults/sitecustomize.py). Some rows need to be root.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
from _common import home, machine, note, parser, report, table
from _faulty import PATIENCE_S, QUESTION, Lab, Seen, copy, ended, look_after, until

from medqa_tui.engine import connect, lifecycle, transport

ANOTHER = "How is high blood pressure treated?"
NOBODY = 65534

# -- the faults --------------------------------------------------------------------------------

Fault = Callable[[Lab], list[Seen]]
_ALL: dict[str, Fault] = {}


def fault(name: str, *, root: bool = False) -> Callable[[Fault], Fault]:
    """Put a fault on the list; `root`: it takes an administrator."""

    def listed(run: Fault) -> Fault:
        def guarded(lab: Lab) -> list[Seen]:
            if root and (not hasattr(os, "getuid") or os.getuid() != 0):
                return [Seen(name, [], None, skipped="needs root")]
            return run(lab)

        _ALL[name] = guarded
        return run

    return listed


def injected(name: str, what: str, **more: str) -> None:
    """Put a fault on the list that strikes at one moment of a question."""

    def run(lab: Lab) -> list[Seen]:
        return [ended(name, lab.start(fault=what, **more))]

    _ALL[name] = run


_SOON = {"MEDQA_ENGINE__WATCHDOG": "8"}
_QUOTE = {"MEDQA_ANSWER__GENERATOR": "extractive"}

injected("kill -9 while it starts", "start:KILL")
injected("kill -9 while the model is loaded", "load:KILL")
injected("kill -9 in the search", "retrieve:KILL")
injected("kill -9 before the first token", "first:KILL")
injected("kill -9 in mid-answer", "answer:KILL:8")
injected("kill -9 while it checks, once", "check:KILL")
injected("kill -9 while it checks, each time", "check:KILL!:2", **_QUOTE)
injected("dies at every start", "start:SEGV!")
injected("SIGSEGV while the model is loaded", "load:SEGV")
injected("SIGABRT before the first token", "first:ABRT")
injected("SIGILL in mid-answer", "answer:ILL:8")
injected("out of memory, once", "first:oom")
injected("out of memory, twice", "first:oom!:1-2")
injected("a hang in the generation", "first:hang", **_SOON)
injected("a hang in a load", "load:hang", **_SOON)
injected("a hang in the search", "retrieve:hang", **_SOON)
injected("a GPU that is lost to the process", "first:broken")
injected("the wall clock jumps by a day, at every look", "none:clock")


@fault("memory limit under a running engine")
def starve(lab: Lab) -> list[Seen]:
    engine = lab.warm()
    size = engine.memory_info().vms + 4_000_000
    engine.rlimit(psutil.RLIMIT_AS, (size, size))
    return [ended("memory limit under a running engine", lab.start())]


@fault("suspended for good")
def suspend(lab: Lab) -> list[Seen]:
    lab.warm(**_SOON).suspend()
    return [ended("suspended for good", lab.start(**_SOON))]


@fault("suspended in mid-answer, and resumed")
def resume(lab: Lab) -> list[Seen]:
    engine = lab.warm()
    asked = lab.start()
    until(lambda: lab.busy() or asked.poll() is not None)
    engine.suspend()
    time.sleep(2.0)
    engine.resume()
    return [ended("suspended in mid-answer, and resumed", asked)]


@fault("three front ends, one is interrupted")
def three(lab: Lab) -> list[Seen]:
    lab.warm()
    asked = [lab.start(question=text) for text in (QUESTION, ANOTHER, QUESTION)]
    until(lambda: lab.busy() or asked[1].poll() is not None)
    asked[1].send_signal(signal.SIGINT)
    names = ("first", "second, interrupted", "third")
    return [ended(f"three front ends: {n}", one) for n, one in zip(names, asked, strict=True)]


@fault("more front ends than the queue takes")
def crowd(lab: Lab) -> list[Seen]:
    short = {"MEDQA_ENGINE__QUEUE": "1"}
    lab.warm(**short)
    asked = [lab.start(**short) for _ in range(6)]
    seen = [ended("more front ends than the queue takes", one) for one in asked]
    turned_away = [one for one in seen if any("busy" in line for line in one.saw)]
    if not turned_away:
        seen[0].saw.append("(nobody had to be turned away)")
        return seen[:1]
    turned_away[0].saw.append(f"({len(turned_away)} of {len(asked)} turned away)")
    return turned_away[:1]


@fault("run folder of another user", root=True)
def foreign_folder(lab: Lab) -> list[Seen]:
    lab.paths.run.mkdir(mode=0o700)
    os.chown(lab.paths.run, NOBODY, NOBODY)
    return [ended("run folder of another user", lab.start())]


@fault("run folder that all can write")
def open_folder(lab: Lab) -> list[Seen]:
    lab.paths.run.mkdir()
    lab.paths.run.chmod(0o777)
    return [ended("run folder that all can write", lab.start())]


@fault("socket of another user", root=True)
def foreign_socket(lab: Lab) -> list[Seen]:
    lab.warm()
    record = transport.read_record(lab.paths)
    assert record
    os.chown(record.location, NOBODY, NOBODY)
    return [ended("socket of another user", lab.start())]


@fault("a folder where the socket goes")
def folder_for_socket(lab: Lab) -> list[Seen]:
    transport.private_folder(lab.paths.run)
    (transport.socket_path(lab.paths) / "x").mkdir(parents=True)
    return [ended("a folder where the socket goes", lab.start())]


@fault("a file where the socket goes")
def file_for_socket(lab: Lab) -> list[Seen]:
    transport.private_folder(lab.paths.run)
    transport.socket_path(lab.paths).write_text("not a socket")
    return [ended("a file where the socket goes", lab.start())]


@contextlib.contextmanager
def squatter(lab: Lab, says: bytes | None) -> Iterator[None]:
    """Listen at the engine's place, under its record, and answer garbage or nothing at all."""
    transport.private_folder(lab.paths.run)
    path = transport.socket_path(lab.paths)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    held.append(client)
                    if says is not None:
                        client.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        kind = transport.Transport.SOCKET
        record = transport.EngineRecord(os.getpid(), "9.9.9", kind, str(path))
        transport.write_record(lab.paths, record)
        yield


@fault("another server at the socket, garbage")
def garbage(lab: Lab) -> list[Seen]:
    with squatter(lab, b"\x16\x03\x01 this is no HTTP\r\n\r\n"):
        return [ended("another server at the socket, garbage", lab.start())]


@fault("another server at the socket, silent")
def silent(lab: Lab) -> list[Seen]:
    with squatter(lab, None):
        return [ended("another server at the socket, silent", lab.start())]


@fault("another server took the socket of a running engine")
def taken(lab: Lab) -> list[Seen]:
    name = "another server took the socket of a running engine"
    lab.warm(**_SOON)
    record = transport.read_record(lab.paths)
    assert record
    with squatter(lab, None):
        transport.write_record(lab.paths, record)
        return [ended(name, lab.start(**_SOON))]


@fault("an engine of an older version")
def older(lab: Lab) -> list[Seen]:
    # Whoever starts it may not use it, so it is started by hand.
    transport.private_folder(lab.paths.run)
    old = subprocess.Popen(
        [sys.executable, "-m", "medqa_tui.engine"],
        env=lab.environment("none:version"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: connect.status(lab.paths))
    seen = ended("an engine of an older version", lab.start())
    seen.afterwards = f"the old one left with {old.wait(PATIENCE_S)}; "
    return [seen]


@fault("an engine with other settings, while it answers")
def other_settings(lab: Lab) -> list[Seen]:
    name = "an engine with other settings, while it answers"
    lab.warm()
    first = lab.start()
    until(lambda: lab.busy() or first.poll() is not None)
    second = lab.start(MEDQA_RETRIEVAL__POOL="20")
    return [ended(f"{name}: the first", first), ended(f"{name}: the second", second)]


@fault("stale socket and record, its process id used by another program")
def stale(lab: Lab) -> list[Seen]:
    name = "stale socket and record, its process id used by another program"
    engine = lab.warm()
    engine.kill()
    until(lambda: not transport.engine_is_alive(lab.paths))
    record = transport.read_record(lab.paths)
    assert record
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        row = {**asdict(record), "pid": other.pid}
        transport.record_file(lab.paths).write_text(json.dumps(row))
        seen = ended(name, lab.start())
        seen.afterwards = f"the other program is {'alive' if other.poll() is None else 'DEAD'}; "
        return [seen]
    finally:
        other.kill()
        other.wait()


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@fault("a run folder that cannot be written", root=True)
def read_only(lab: Lab) -> list[Seen]:
    with mounted(lab.paths.run, "ro,mode=700"):
        return [ended("a run folder that cannot be written", lab.start())]


@fault("a full disk for record and lock", root=True)
def full_run(lab: Lab) -> list[Seen]:
    with mounted(lab.paths.run, "size=16k,mode=700"):
        fill(lab.paths.run)
        return [ended("a full disk for record and lock", lab.start())]


@fault("a full disk for the log", root=True)
def full_log(lab: Lab) -> list[Seen]:
    with mounted(lab.paths.logs, "size=16k,mode=700"):
        fill(lab.paths.logs)
        seen = ended("a full disk for the log", lab.start())
        lifecycle.stop(lab.paths)
        return [seen]


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--only",
        metavar="TEXT",
        action="append",
        help="only the faults whose name holds this; repeatable",
    )
    arguments.add_argument("--json", action="store_true", help="print every row as JSON instead")
    asked = arguments.parse_args()
    on = machine("torch", "transformers")
    rows: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="mqf", dir=home().parent) as folder:
        lab = Lab(Path(folder))
        copy(home(), lab.root)
        for name, run in _ALL.items():
            if asked.only and not any(text in name for text in asked.only):
                continue
            note(name)
            lab.stop()
            lab.paths.history_db.unlink(missing_ok=True)
            try:
                found = run(lab)
                if not found[-1].skipped:
                    look_after(lab, found[-1])
            except (Exception, subprocess.TimeoutExpired) as error:
                found = [Seen(name, [f"the script failed: {error!r}"], None)]
            for one in found:
                one.works = found[-1].works
                note(f"  {one.code}: {' / '.join(one.saw)}; {one.afterwards}; works: {one.works}")
            rows += found
        lab.stop()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        cells = [
            [
                row.fault,
                row.skipped or " / ".join(row.saw) or "nothing",
                "" if row.code is None else str(row.code),
                row.afterwards,
                "" if row.skipped else "yes" if row.works else "NO",
            ]
            for row in rows
        ]
        headers = ["fault", "what the user saw", "exit code", "afterwards", "next one works"]
        shown = table(headers, cells)
        report("Faults of the engine", on, [shown], [asdict(r) for r in rows], asked.output)
    sys.exit(0 if all(row.works or row.skipped for row in rows) else 1)


if __name__ == "__main__":
    main()
