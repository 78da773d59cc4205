"""The one writer of stderr: errors, notes, progress."""

from __future__ import annotations

import itertools
import sys
import threading
from types import TracebackType
from typing import NoReturn, Self

from medqa_tui.cli import output, terminal
from medqa_tui.cli.words import wrapped
from medqa_tui.errors import MedQAError

_FRAMES = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
_TICK = 0.1

_lock = threading.RLock()
_verbose = 0
_quiet = False
_live: StatusLine | None = None


def configure(*, verbose: int = 0, quiet: bool = False) -> None:
    """Say how talkative stderr is for the rest of this process."""
    global _verbose, _quiet
    _verbose, _quiet = verbose, quiet


def verbosity() -> int:
    """Return how often `-v` was given."""
    return _verbose


def prepare() -> None:
    """Make stderr replace what its encoding cannot hold, instead of raising."""
    if sys.stderr is None:  # closed by whoever started the program
        sys.stderr = terminal.sink(2)
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="replace")


def note(text: str) -> None:
    """Say something that is neither data nor an error; `-q` silences it."""
    if not _quiet:
        _line(text, "dim")


def detail(text: str) -> None:
    """Say something that only `-v` asks for."""
    if _verbose and not _quiet:
        _line(text, "dim")


def always(text: str) -> None:
    """Say something that is no warning but that even `-q` must not hide."""
    _line(text)


def warn(text: str) -> None:
    """Say something that even `-q` must not hide."""
    _line(f"Warning: {text}", "yellow")


def report(error: MedQAError) -> None:
    """Write an error: what happened to what, then the next thing to type."""
    _line(f"{error.title} {error.detail}".strip(), "bold red")
    if error.hint:
        # A hint is a command to type or a sentence of its own.
        is_command = error.hint[:1].islower() or error.hint.startswith("-")
        _line(f"Try: {error.hint}" if is_command else error.hint)


def fail(error: MedQAError) -> NoReturn:
    """End the command with `error`; the program's entry reports it and picks the exit code."""
    raise error


def raw(text: str) -> None:
    """Write `text` as it is, such as a traceback that was asked for."""
    with _lock:
        _hide()
        _put(output.make_way(sys.stderr) + (text if text.endswith("\n") else text + "\n"))


class StatusLine:
    """A line that says what is going on, drawn over itself and erased at the end.

    Where a line cannot be drawn over, each new message is a line of its own. Use as a context
    manager; `-q` silences it.
    """

    def __init__(self, message: str = "") -> None:
        self._message = message
        self._said = ""
        self._drawn = 0
        self._held = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        global _live  # noqa: PLW0603 - whoever writes to the terminal must hide the line first
        with _lock:
            _live = self
        if self._message:
            self.show(self._message)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _live  # noqa: PLW0603
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with _lock:
            self.erase()
            _live = None

    def show(self, message: str, fraction: float | None = None, suffix: str = "") -> None:
        """Replace the message; `fraction` in [0, 1] and `suffix` follow it where the line moves."""
        from medqa_tui.safety.sanitize import clean

        message = clean(message, False)
        if terminal.can_redraw(sys.stderr) and not _quiet:
            share = "" if fraction is None else f" {min(max(fraction, 0.0), 1.0):.0%}"
            with _lock:
                self._message, self._held = f"{message}{share} {suffix}".rstrip(), False
            if self._thread is None:
                self._thread = threading.Thread(target=self._spin, daemon=True)
                self._thread.start()
        elif message != self._said:
            self._said = message
            note(message)

    def erase(self) -> None:
        """Take the line off the terminal, until the next tick."""
        with _lock:
            if self._drawn:
                # Spaces and not an escape sequence: they work wherever a carriage return does. Two
                # more, for the ^C of a terminal that shows what is typed.
                wide = min(self._drawn + 2, terminal.width(sys.stderr))
                _put("\r" + " " * wide + "\r")
                self._drawn = 0

    def pause(self) -> None:
        """Take the line off the terminal until the next `show`."""
        with _lock:
            self._held = True
            self.erase()

    def _spin(self) -> None:
        frames = _FRAMES[0 if terminal.can_show_unicode(sys.stderr) else 1]
        for frame in itertools.cycle(frames):
            with _lock:
                if not self._held:
                    self.erase()
                    text = f"{frame} {self._message}"[: terminal.width(sys.stderr) - 1]
                    _put(text)
                    self._drawn = len(text)
            if self._stop.wait(_TICK):
                return


class Progress:
    """How far one task has come, on the status line; its end is a note of its own."""

    def __init__(self, label: str, total: float | None = None, unit: str = "") -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._line = StatusLine(label)

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.__exit__(kind, error, trace)
        if kind is None:
            note(f"{self._label}: done.")

    def update(
        self, done: float, total: float | None = None, message: str = "", unit: str = ""
    ) -> None:
        """Say that `done` of `total` is behind us; `message` replaces the label while it lasts."""
        total = self._total if total is None else total
        self._line.show(
            message or self._label,
            done / total if total else None,
            amount(done, total, unit or self._unit) if total else "",
        )


def amount(done: float | None, total: float | None, unit: str) -> str:
    """Return `(3 of 80 cards)`, bytes in MB, or nothing where nothing is counted."""
    if not unit or unit == "percent":
        return ""
    scale, name = (1e6, "MB") if unit == "bytes" else (1.0, unit)
    counted = " of ".join(f"{value / scale:.0f}" for value in (done, total) if value is not None)
    return f"({counted} {name})" if counted else ""


def progress(label: str, total: float | None = None, unit: str = "") -> Progress:
    """Return a progress display: `with progress("Indexing", 10) as bar: bar.update(3)`.

    Args:
        total: How much there is to do, where it is known at the start.
        unit: What is counted, in the plural; `bytes` is shown in MB.
    """
    return Progress(label, total, unit)


def hide() -> None:
    """Take the status line off the terminal before something else is written there."""
    with _lock:
        _hide()


def _hide() -> None:
    if _live is not None:
        _live.erase()


def _line(text: str, style: str = "") -> None:
    from medqa_tui.safety.sanitize import clean

    with _lock:
        _hide()
        way = output.make_way(sys.stderr)
        text = clean(text)
        if terminal.is_terminal(sys.stderr):
            text = wrapped(text, terminal.width(sys.stderr))
        _put(way + terminal.paint(text, style, sys.stderr) + "\n")


def _put(text: str) -> None:
    """Write to stderr; where that fails, the notes are lost and the data on stdout is not."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        # Also for what is buffered still, which the interpreter writes at exit.
        sys.stderr = terminal.sink(2)
