"""The engine that runs or does not, and the history that is kept or not."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check, ok, warn

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths


def check_engine(paths: Paths, settings: Settings) -> Check:
    """Ask the engine what it is doing; none running is fine."""
    from medqa_tui.engine.connect import status
    from medqa_tui.engine.keepalive import parse_keep_alive

    parse_keep_alive(settings.engine.keep_alive)
    if not settings.engine.enabled:
        return ok("engine", "Turned off (engine.enabled); each command loads the models itself.")
    running = status(paths)
    if running is None:
        return ok("engine", "Not running; it starts with the next question.")
    device = f" on {running.device}" if running.device else ""
    detail = f"Process {running.pid} is {running.state.value}{device}. {running.doing}".strip()
    if running.problem:
        return warn("engine", f"{detail} {running.problem}", "medqa-tui engine logs")
    return ok("engine", detail)


def check_history(paths: Paths, settings: Settings) -> Check:
    """Read the history's file without changing it."""
    from medqa_tui.history.store import HistoryStore

    path = paths.history_db
    aside = HistoryStore(path).set_aside()
    if not path.exists():
        kept = "" if settings.history.enabled else " and none will be kept (history.enabled)"
        found = f"Nothing is kept yet{kept}."
    else:
        try:
            found = f"{_count(path.as_uri())} questions are kept in {path}."
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                return ok("history", "Another program is writing to it now.")
            detail = f"{path} is damaged: {error}."
            fix = "medqa-tui doctor --deep --repair (what can be read of it is saved)"
            return warn("history", detail, fix)
        if not settings.history.enabled:
            found += " Nothing new is (history.enabled)."
    if aside:
        detail = f"{found} A damaged file from before is kept: {aside[0]}."
        return warn("history", detail, f'medqa-tui history purge, or: rm "{aside[0]}"')
    return ok("history", found)


def _count(uri: str) -> int:
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=2.0)
    try:
        said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        return int(connection.execute("SELECT count(*) FROM turns").fetchone()[0])
    finally:
        connection.close()


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
