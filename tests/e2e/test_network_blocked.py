"""After setup nothing opens a network connection, and nothing misses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

# Loaded by every Python process of the program: any address but a local socket is refused and
# written down, so that a library that swallows the refusal is still found out.
GUARD = """
import os, socket

_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex

def _refuse(sock, address):
    if sock.family != socket.AF_UNIX:
        with open(os.environ["GUARD_LOG"], "a") as log:
            log.write(f"{os.getpid()} {address!r}\\n")
        raise OSError(101, "the network is blocked by this test")

def connect(self, address):
    _refuse(self, address)
    return _connect(self, address)

def connect_ex(self, address):
    _refuse(self, address)
    return _connect_ex(self, address)

def getaddrinfo(host, *args, **kwargs):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{os.getpid()} lookup {host!r}\\n")
    raise socket.gaierror(-3, "names are blocked by this test")

socket.socket.connect = connect
socket.socket.connect_ex = connect_ex
socket.getaddrinfo = getaddrinfo
with open(os.environ["GUARD_LOG"] + ".pids", "a") as log:
    log.write(f"{os.getpid()}\\n")
"""

# bitsandbytes' CPU backend asks the hub for a kernel as soon as a package of this name is found.
KERNELS = """
import urllib.request

def get_kernel(repo_id, *args, **kwargs):
    from huggingface_hub import snapshot_download
    return snapshot_download(repo_id)
"""


@pytest.fixture
def guarded(starter_home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose every connection is refused and logged."""
    home = tmp_path / "home"
    shutil.copytree(starter_home, home, ignore=shutil.ignore_patterns("run", "logs"))
    guard = tmp_path / "guard"
    (guard / "kernels").mkdir(parents=True)
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    (guard / "kernels" / "__init__.py").write_text(KERNELS, encoding="utf-8")
    return {
        **os.environ,
        "MEDQA_HOME": str(home),
        "PYTHONPATH": str(guard),
        "GUARD_LOG": str(tmp_path / "attempts"),
        # The language model as well as all that a quoted answer needs.
        "MEDQA_ANSWER__GENERATOR": "model",
    }


def no_network_prefix() -> tuple[str, ...]:
    """Return the command that drops the network, where this machine allows one."""
    if shutil.which("unshare") is None:
        return ()
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return ("unshare", "--net") if probe.returncode == 0 else ()


@pytest.mark.parametrize("extra", [(), ("--no-engine",)], ids=["engine", "in-process"])
def test_answers_with_the_network_blocked(
    guarded: dict[str, str], tmp_path: Path, extra: tuple[str, ...]
) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*no_network_prefix(), sys.executable, "-m", "medqa_tui", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=guarded,
        )

    try:
        done = run("ask", "--json", *extra, "What are the symptoms of type 2 diabetes?")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "answered"
        assert run("ask", *extra, "Who won the 1998 World Cup?").returncode == 5
    finally:
        run("engine", "stop")
    attempts = tmp_path / "attempts"
    assert not attempts.exists(), attempts.read_text(encoding="utf-8")
    # The guard was there: in this program's process and, with the engine, in the engine's too.
    pids = set((tmp_path / "attempts.pids").read_text(encoding="utf-8").split())
    assert len(pids) >= 2
