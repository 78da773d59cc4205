"""Wall time until the program speaks: --help, --version, the import, the app's first frame.

A bare interpreter and Textual's own import are measured in the same rounds, so that a slow machine
shows. The app is opened in a pseudo-terminal, and ended at its first frame.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

from _common import Spread, machine, note, parser, program, report, table

# Words that the first frame shows at this width.
_SIGN = b"For education only."
_SIZE = (40, 160)
_PATIENCE_S = 60.0
_BASE = "python -c pass"


def wall(command: list[str]) -> float:
    """Return the seconds that `command` takes from start to exit."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_frame(home: Path) -> float:
    """Return the seconds from the start of the app to its first frame.

    Args:
        home: An empty folder, so that no engine is started behind the app.
    """
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        program(),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        env=os.environ | {"MEDQA_HOME": str(home), "TERM": "xterm-256color"},
    )
    os.close(secondary)
    try:
        _read_until(primary, _SIGN, began + _PATIENCE_S)
        return time.perf_counter() - began
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(primary)


def _read_until(terminal: int, sign: bytes, deadline: float) -> None:
    seen = b""
    while sign not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.perf_counter()))
        if not ready:
            raise SystemExit("The app drew no first frame in a minute.")
        try:
            seen += os.read(terminal, 1 << 16)
        except OSError:
            raise SystemExit(f"The app ended before its first frame: {seen!r}") from None


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=20, help="rounds; one more is not counted")
    chosen = options.parse_args()
    on = machine("textual", "typer")
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="medqa-bench-") as folder:
        home = Path(folder)
        os.environ["MEDQA_HOME"] = folder
        cases: dict[str, Callable[[], float]] = {
            _BASE: lambda: wall([python, "-c", "pass"]),
            "python -c 'import medqa_tui'": lambda: wall([python, "-c", "import medqa_tui"]),
            "medqa-tui --version": lambda: wall([*program(), "--version"]),
            "medqa-tui --help": lambda: wall([*program(), "--help"]),
            "python -c 'import textual.app'": lambda: wall([python, "-c", "import textual.app"]),
            "medqa-tui, to the first frame": lambda: first_frame(home),
        }
        taken: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(chosen.runs + 1):
            note(f"round {turn} of {chosen.runs}")
            for name, run in cases.items():
                seconds = run()
                # The first round reads files that later ones find in memory.
                if turn:
                    taken[name].append(seconds)
    spreads = {name: Spread(tuple(values)) for name, values in taken.items()}
    base = spreads[_BASE].median
    rows = [
        [
            f"`{name}`" if name.startswith(("python", "medqa-tui --")) else name,
            *(f"{value * 1000:.0f}" for value in (s.median, min(s.values), max(s.values))),
            f"{s.median / base:.1f}",
        ]
        for name, s in spreads.items()
    ]
    headers = ["ms", "median", "least", "most", "times bare Python"]
    result = {name: spread.record() for name, spread in spreads.items()}
    title = f"Start-up, {chosen.runs} rounds"
    report(title, on, [table(headers, rows)], result, chosen.output)


if __name__ == "__main__":
    main()
