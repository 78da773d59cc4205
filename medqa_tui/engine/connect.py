"""Connections to a running engine, for whoever talks to it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.domain import Failure
from medqa_tui.engine import wire
from medqa_tui.engine.status import EngineStatus
from medqa_tui.engine.transport import (
    EngineRecord,
    Transport,
    check_socket,
    read_record,
    read_token,
)

if TYPE_CHECKING:
    import httpx2

    from medqa_tui.paths import Paths

ANSWER_S = 5.0
"""Seconds for a word on how it is; while torch is being imported that may take one or two."""
_CONNECT_S = 5.0
_LONGEST_STATUS = 100_000
# An adapter waits for the model to be loaded and for the answer that is being written.
_LOADING_S = 600.0


def status(paths: Paths) -> EngineStatus | None:
    """Return what the running engine says of itself, or None if none answers.

    Raises:
        EngineError: Its files are someone else's, so that it is not asked.
    """
    return _ask(paths, "GET", "/v1/status")


def ask_to_stop(paths: Paths, when: str = "now") -> EngineStatus | None:
    """Ask the running engine to leave (`now`, or when `idle`); return its last words, if any."""
    return _ask(paths, "POST", f"/v1/stop?when={when}")


def use_adapter(paths: Paths, name: str | None) -> bool:
    """Ask the running engine to use the adapter `name`; return whether it does.

    Raises:
        EngineError: It cannot.
    """
    record = read_record(paths)
    if record is None or not is_there(record):
        return False
    import httpx2

    try:
        with _client(paths, record, httpx2.Timeout(ANSWER_S, read=_LOADING_S)) as client:
            asked = wire.encode(wire.AdapterRequest(name))
            reply = client.post("/v1/adapter", content=asked)
            if reply.status_code == httpx2.codes.BAD_REQUEST:
                refused = wire.decode_failure(reply.content)
                raise wire.error_of(refused or Failure("The engine refused the adapter."))
            return bool(reply.raise_for_status().json()["adapter"] == name)
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        # Nobody is there, or it is leaving, or it is older than this.
        return False


def async_client(paths: Paths, record: EngineRecord) -> httpx2.AsyncClient:
    """Return a client of the engine at `record`; the caller closes it."""
    import httpx2

    # Nothing but the engine may ever be asked, so no proxy of the environment takes part.
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=_uds(record)),
        timeout=httpx2.Timeout(ANSWER_S, connect=_CONNECT_S, read=None),
        trust_env=False,
        **_address(paths, record),
    )


def _ask(paths: Paths, method: str, path: str) -> EngineStatus | None:
    record = read_record(paths)
    if record is None or not is_there(record):
        return None
    import httpx2

    try:
        with (
            _client(paths, record, httpx2.Timeout(ANSWER_S, connect=_CONNECT_S)) as client,
            client.stream(method, path) as reply,
        ):
            reply.raise_for_status()
            return EngineStatus.from_record(json.loads(_body(reply)))
    except (httpx2.HTTPError, ValueError, TypeError, OSError):
        # Nobody is there, or it is no engine that answers.
        return None


def _client(paths: Paths, record: EngineRecord, timeout: httpx2.Timeout) -> httpx2.Client:
    import httpx2

    return httpx2.Client(
        transport=httpx2.HTTPTransport(uds=_uds(record)),
        timeout=timeout,
        trust_env=False,
        **_address(paths, record),
    )


def is_there(record: EngineRecord) -> bool:
    """Return whether something may listen at the place that `record` names.

    Raises:
        EngineError: It is someone else's.
    """
    if record.transport is Transport.SOCKET and record.location:
        return check_socket(Path(record.location))
    return bool(record.location)


def _body(reply: httpx2.Response) -> bytes:
    """Return the whole of a short reply: what listens there may be no engine, and never end."""
    body, until = b"", time.monotonic() + ANSWER_S
    for piece in reply.iter_bytes():
        body += piece
        if len(body) > _LONGEST_STATUS or time.monotonic() > until:
            raise ValueError("not the status of an engine")
    return body


def _uds(record: EngineRecord) -> str | None:
    return record.location if record.transport is Transport.SOCKET else None


def _address(paths: Paths, record: EngineRecord) -> dict[str, Any]:
    if record.transport is Transport.SOCKET:
        return {"base_url": "http://engine"}
    headers = {"Authorization": f"Bearer {read_token(paths)}"}
    return {"base_url": f"http://{record.location}", "headers": headers}
