"""Errors a user can meet, each with the next command to type."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The documented exit codes of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_SET_UP = 3
    DOWNLOAD = 4
    ABSTAINED = 5
    EMERGENCY = 10
    INTERRUPTED = 130


class MedQAError(Exception):
    """An error shown to the user: a plain title, what it concerns, and what to do next.

    Args:
        title: One short sentence, without jargon.
        detail: The file, key, address or value it concerns.
        hint: The next command to type, or the next thing to do.
        exit_code: What the process exits with when nobody handles it.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(
        self, title: str, detail: str = "", hint: str = "", exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(title)
        self.title = title
        self.detail = detail
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return " ".join(part for part in (self.title, self.detail, self.hint) if part)


class UsageError(MedQAError):
    """Wrong arguments or an invalid configuration."""

    exit_code = ExitCode.USAGE


class NotSetUpError(MedQAError):
    """The profile's files are not installed, and installing them was not allowed."""

    exit_code = ExitCode.NOT_SET_UP


class DownloadError(MedQAError):
    """A download failed, or what arrived is not what was asked for."""

    exit_code = ExitCode.DOWNLOAD


class EngineError(MedQAError):
    """The engine could not be started, stopped answering, or reported a failure."""


class BrokenDeviceError(EngineError):
    """The GPU, or the memory, cannot be used any more in this process; a new one may."""
