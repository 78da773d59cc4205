"""Editing the config file in the user's own editor; what is not valid never takes its place."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from medqa_tui.config.load import check_text, known_keys, read_config_text
from medqa_tui.config.write import write_text
from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.paths import ensure, get_paths

_EDITORS = ("sensible-editor", "nano", "vim", "vi", "notepad")


def edit(again: Callable[[UsageError], bool]) -> bool:
    """Open a copy of the config file in an editor and put it in place if it is valid.

    Args:
        again: Told what is wrong with it; whether to open it once more.

    Returns:
        Whether anything changed.

    Raises:
        UsageError: There is no editor, or what was written is not valid and was dropped.
        MedQAError: The editor failed, or the file cannot be written.
    """
    command = _editor()
    path = get_paths().config_file
    before = read_config_text(path)
    ensure(path.parent)
    handle, name = tempfile.mkstemp(prefix=".edit-", suffix=".toml", dir=path.parent)
    copy = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(before or _template())
        text = _edited(command, copy, again)
        if text in (before, _template()):
            return False
        write_text(path, text)
        return True
    finally:
        copy.unlink(missing_ok=True)


def _edited(command: list[str], copy: Path, again: Callable[[UsageError], bool]) -> str:
    while True:
        _open(command, copy)
        try:
            text = read_config_text(copy)
            check_text(text, copy)
            return text
        except UsageError as error:
            if not again(error):
                raise UsageError(
                    error.title, f"{error.detail} Nothing was changed.", error.hint
                ) from error


def _editor() -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        if chosen := os.environ.get(variable, "").strip():
            try:
                return shlex.split(chosen, posix=os.name == "posix")
            except ValueError as error:
                raise UsageError(
                    "The editor's command cannot be understood.",
                    f"{variable} is {chosen!r}.",
                    "Name another one: EDITOR=nano",
                ) from error
    found = next((path for name in _EDITORS if (path := shutil.which(name))), None)
    if found is None:
        raise UsageError(
            "There is no editor to open the config file with.",
            f"{get_paths().config_file}.",
            "Name one: EDITOR=nano, or type: medqa-tui config set KEY VALUE",
        )
    return [found]


def _open(command: list[str], copy: Path) -> None:
    try:
        code = subprocess.run([*command, str(copy)], check=False).returncode
    except OSError as error:
        raise MedQAError(
            "The editor could not be started.",
            f"{command[0]}: {error.strerror or error}.",
            "Name another one: EDITOR=nano",
        ) from error
    if code:
        raise MedQAError(
            "The editor reported a failure, so nothing was changed.",
            f"{command[0]} ended with code {code}.",
            "medqa-tui config edit",
        )


def _template() -> str:
    """Return a file that says what can be in it, and sets nothing."""
    lines = ["# Settings of medqa-tui. See them all with: medqa-tui config show"]
    section = ""
    for key, description in known_keys().items():
        group, _, name = key.rpartition(".")
        if group != section:
            section = group
            lines += ["", f"[{group}]"]
        lines += [f"# {description}", f"# {name} ="]
    return "\n".join(lines) + "\n"
