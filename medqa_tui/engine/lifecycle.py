"""Starting, replacing and stopping the engine from a front end; nothing heavy is loaded here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medqa_tui import __version__
from medqa_tui.engine import connect, process, transport
from medqa_tui.engine.installed import require_active
from medqa_tui.engine.keepalive import parse_keep_alive
from medqa_tui.engine.status import EngineState, EngineStatus, fingerprint
from medqa_tui.engine.transport import ANOTHER_RUNS, Transport
from medqa_tui.engine.vitals import Silence
from medqa_tui.errors import EngineError, ExitCode

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths

START_TIMEOUT_S = 60.0
"""How long an engine may take until it answers; loading the models comes after that."""

# The longest answer that a new engine waits for.
_HANDOVER_S = 600.0
_STOP_S = 15.0
_POLL_S = 0.05
_ASK_AGAIN_S = 1.0

Say = Callable[[str], None]


def _silent(message: str) -> None:
    """Say nothing."""


class _CrashedError(Exception):
    """A started engine ended by itself before it answered; a second one may do better."""


def ensure_running(
    paths: Paths,
    settings: Settings,
    say: Say = _silent,
    *,
    kind: Transport | None = None,
    timeout: float = START_TIMEOUT_S,
    abandoned: threading.Event | None = None,
    mute: int | None = None,
) -> EngineStatus:
    """Return the status of an engine that serves `settings`, started or replaced if need be.

    It answers by then, but may still be loading. An engine of another version, with other settings
    or with other files is asked to leave once it has nothing to do. One that crashes before it
    answers is started once more.

    Args:
        say: Is told what goes on, in words.
        kind: How the engine listens, if it has to be started.
        timeout: Seconds until a started engine must answer.
        abandoned: Set by another thread when nobody waits any more.
        mute: Process id of an engine that was waited for in vain already.

    Raises:
        NotSetUpError: Nothing is installed for the profile.
        EngineError: The engine cannot be started; the detail says why.
        UsageError: A setting of the engine is not valid.
    """
    require_active(paths, settings)
    parse_keep_alive(settings.engine.keep_alive)
    want = fingerprint(paths, settings)
    found = connect.status(paths)
    if found and found.serves(want):
        return found
    transport.private_folder(paths.run)
    starter = _Starter(paths, settings, say, kind or transport.default_transport(), timeout)
    starter.abandoned = abandoned
    try:
        # Two front ends may get here at once: one starts the engine, the other finds it.
        with starter.lock():
            found = connect.status(paths)
            if found and found.serves(want):
                return found
            starter.make_room(found, mute)
            say("Starting the engine.")
            return starter.start(want)
    except OSError as error:
        raise EngineError(
            "The engine could not be started.",
            f"{error.filename or paths.run}: {error.strerror or error}.",
            "medqa-tui doctor, or the same command with --no-engine",
        ) from error


def stop(paths: Paths, timeout: float = _STOP_S, abandoned: threading.Event | None = None) -> bool:
    """Stop the engine and return whether there was one.

    It is asked first; one that does not leave within `timeout` seconds is ended.

    Raises:
        EngineError: It cannot be ended.
    """
    if not transport.engine_is_alive(paths):
        return False
    connect.ask_to_stop(paths)
    if not _wait_gone(paths, _Patience(timeout, abandoned)):
        process.end(paths)
    return True


def log_lines(paths: Paths, count: int) -> list[str]:
    """Return the last `count` lines of the engine's log, oldest first."""
    try:
        text = transport.log_file(paths).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:] if count > 0 else []


@dataclass
class _Patience:
    """How long to wait, and whether anybody still does."""

    seconds: float
    abandoned: threading.Event | None = None

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def wait(self) -> bool:
        """Wait a moment; return False once the time is over."""
        if self.abandoned and self.abandoned.is_set():
            raise EngineError("Starting the engine was given up.", exit_code=ExitCode.INTERRUPTED)
        time.sleep(_POLL_S)
        return time.monotonic() < self._until


@dataclass
class _Starter:
    """One front end's way to an engine of its own settings."""

    paths: Paths
    settings: Settings
    say: Say
    kind: Transport
    timeout: float
    abandoned: threading.Event | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of whoever starts the engine."""
        from filelock import Timeout

        lock = transport.start_lock(self.paths, timeout=0)
        patience = self._patience(_HANDOVER_S + self.timeout)
        told = False
        while True:
            try:
                lock.acquire()
                break
            except Timeout as error:
                if not told:
                    self.say("Waiting for another program that is starting the engine.")
                told = True
                if not patience.wait():
                    raise EngineError(
                        "Another program is starting the engine and does not come to an end.",
                        f"{self.paths.run}.",
                        "medqa-tui engine stop",
                    ) from error
        try:
            yield
        finally:
            lock.release()

    def make_room(self, found: EngineStatus | None, mute: int | None) -> None:
        """See an engine off that cannot be used."""
        found = found or self._heard(mute)
        if found is None:
            return
        self.say(_why_replaced(found, self.settings))
        connect.ask_to_stop(self.paths, "idle")
        if not self._left():
            stop(self.paths, abandoned=self.abandoned)

    def _heard(self, mute: int | None) -> EngineStatus | None:
        """Return what an engine says that did not answer so far; end one that stays silent."""
        record = transport.read_record(self.paths)
        listens = record is not None and bool(record.location)
        # One that was just started has not said yet where it listens.
        limit = self.settings.engine.watchdog if listens else self.timeout
        silence = Silence(record.pid if record and listens else None, limit)
        patience = self._patience(float("inf"))
        told = False
        while transport.engine_is_alive(self.paths):
            began = time.monotonic()
            if found := connect.status(self.paths):
                return found
            if not told:
                self.say("Waiting for an engine that does not respond.")
            told = True
            patience.wait()
            known = record is not None and record.pid == mute
            if known or silence.lasted(time.monotonic() - began):
                self.say("The engine does not respond; it is ended.")
                process.end(self.paths)
        return None

    def _left(self) -> bool:
        """Wait until the engine has left; one that answers somebody is given time for it."""
        patience = self._patience(_HANDOVER_S)
        idle = self._patience(_STOP_S)
        ask, told = time.monotonic(), False
        while transport.engine_is_alive(self.paths):
            if time.monotonic() >= ask:
                status = connect.status(self.paths)
                if status and status.busy:
                    idle = self._patience(_STOP_S)
                    if not told:
                        self.say("Waiting for it to finish an answer.")
                    told = True
                ask = time.monotonic() + _ASK_AGAIN_S
            if not idle.wait() or not patience.wait():
                return False
        return True

    def start(self, want: str) -> EngineStatus:
        """Start the engine, once more if it crashes at once."""
        try:
            return self._start(want)
        except _CrashedError as crash:
            self.say(f"The engine ended ({crash}); starting it again.")
        try:
            return self._start(want)
        except _CrashedError as crash:
            raise EngineError(
                "The engine ended twice before it could answer.",
                f"{_sentence(str(crash))} Its log is {transport.log_file(self.paths)}.",
                "medqa-tui engine logs, or medqa-tui doctor",
            ) from crash

    def _start(self, want: str) -> EngineStatus:
        patience = self._patience(self.timeout)
        child, logged = process.spawn(self.paths, self.settings, self.kind)
        while True:
            status = connect.status(self.paths)
            if status and status.serves(want):
                return status
            code = child.poll()
            if code is not None and code != ANOTHER_RUNS:
                why = process.how_it_started(self.paths, code, logged)
                if process.crashed(code):
                    raise _CrashedError(why)
                raise EngineError(
                    "The engine ended before it could answer.",
                    _sentence(why),
                    "medqa-tui engine logs, or medqa-tui doctor",
                )
            if not patience.wait():
                child.kill()
                raise EngineError(
                    "The engine does not answer.",
                    f"It was started {patience.seconds:.0f} s ago (process {child.pid}).",
                    "medqa-tui engine logs",
                )

    def _patience(self, seconds: float) -> _Patience:
        return _Patience(seconds, self.abandoned)


def _why_replaced(found: EngineStatus, settings: Settings) -> str:
    if found.state is EngineState.STOPPING:
        return "Waiting for an engine that is leaving."
    if found.version != __version__:
        return f"Replacing an engine of version {found.version}."
    if found.profile != settings.profile:
        return f"Replacing the engine of the profile {found.profile}."
    return "Replacing an engine that runs with other settings or files."


def _wait_gone(paths: Paths, patience: _Patience) -> bool:
    while transport.engine_is_alive(paths):
        if not patience.wait():
            return False
    return True


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."
