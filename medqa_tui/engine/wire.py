"""The engine's requests and replies as JSON, both ways."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from medqa_tui.domain import Failure
from medqa_tui.errors import EngineError, ExitCode, MedQAError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

ENGINE_BROKEN = "engine_broken"
"""Code of the notice that ends the stream of an engine which only a new one can replace."""


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """The adapter that active.json now names, or None for the model alone."""

    name: str | None


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    # pydantic costs 0.1 s to import; only a process that talks to the engine pays for it.
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", kind))
    return adapter


def encode(value: object) -> bytes:
    """Return a request or a reply (a frozen dataclass) as JSON."""
    encoded: bytes = _adapter(cast("Hashable", type(value))).dump_json(value)
    return encoded


def decode(kind: type[T], body: bytes) -> T:
    """Return the request or reply of type `kind` that `body` holds.

    Raises:
        ValueError: It holds something else.
    """
    value: T = _adapter(cast("Hashable", kind)).validate_json(body)
    return value


def failure_of(error: MedQAError) -> Failure:
    """Return the error as data."""
    return Failure(error.title, error.detail, error.hint, int(error.exit_code))


def error_of(failure: Failure) -> MedQAError:
    """Return the error that the data tells of, to be raised."""
    known = failure.exit_code in set(ExitCode)
    code = ExitCode(failure.exit_code) if known else ExitCode.FAILURE
    return EngineError(failure.title, failure.detail, failure.hint, code)


def decode_failure(body: bytes) -> Failure | None:
    """Return what a refused request's body tells of, or None if it is not the engine's."""
    try:
        return decode(Failure, body)
    except ValueError:
        return None
