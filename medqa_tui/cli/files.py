"""Files that a command writes where the user says."""

from __future__ import annotations

from pathlib import Path

from medqa_tui.errors import MedQAError, UsageError


def write_private(target: Path, text: str, *, force: bool = False, option: str = "") -> None:
    """Write the file whole or not at all, for its owner alone.

    Args:
        force: Whether a file that is there may be replaced.
        option: The flag that sets `force`, for the hint.

    Raises:
        UsageError: It is there already, and may not be replaced.
        MedQAError: It cannot be written.
    """
    from medqa_tui.models.files import write_atomic

    require_free(target, force=force, option=option)
    try:
        write_atomic(target, text.encode())
    except OSError as error:
        raise MedQAError(
            "The file could not be written.",
            f"{target}: {error.strerror or error}.",
            "Name a file in a folder of yours.",
        ) from error


def require_free(target: Path, *, force: bool = False, option: str = "") -> None:
    """Accept a file that may be written.

    Raises:
        UsageError: It is a folder, or is there already and may not be replaced.
    """
    if target.is_dir():
        raise UsageError("This is a folder:", f"{target}.", "Name a file in it.")
    if target.exists() and not force:
        hint = f"Use another name, or add {option}" if option else "Use another name."
        raise UsageError("The file exists already:", f"{target}.", hint)
