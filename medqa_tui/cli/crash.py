"""What becomes of an error nobody foresaw: a plain sentence, and a log without the question."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

from medqa_tui.cli import diagnostics
from medqa_tui.errors import ExitCode, MedQAError


def describe(error: Exception) -> MedQAError:
    """Return `error` as one for the user, after logging where it happened.

    With `-vv` the whole traceback goes to stderr instead; the log never holds an error's own
    words, since those may repeat the question.
    """
    if diagnostics.verbosity() >= 2:
        diagnostics.raw("".join(traceback.format_exception(error)))
        hint = "medqa-tui doctor"
        detail = f"{type(error).__name__}."
    else:
        log = _write(error)
        detail = f"{type(error).__name__}; where it happened is in {log}." if log else ""
        hint = "the same command with -vv for the details, or medqa-tui doctor"
    return MedQAError("Something went wrong inside the program.", detail, hint, ExitCode.FAILURE)


def _write(error: Exception) -> Path | None:
    from medqa_tui.paths import ensure, get_paths

    lines = [f"{datetime.now(UTC).isoformat(timespec='seconds')} {type(error).__name__}\n"]
    at: BaseException | None = error
    while at is not None:
        lines += [f"  {type(at).__module__}.{type(at).__name__}\n"]
        lines += [
            f"    {frame.filename}:{frame.lineno} in {frame.name}\n"
            for frame in traceback.extract_tb(at.__traceback__)
        ]
        at = at.__cause__ or at.__context__
    try:
        log = ensure(get_paths().logs) / "cli.log"
        with log.open("a", encoding="utf-8") as file:
            log.chmod(0o600)
            file.writelines(lines)
    except (OSError, MedQAError):
        return None
    return log
