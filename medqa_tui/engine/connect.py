"""Connections to a running engine, for whoever talks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medqa_tui.engine.status import EngineStatus
from medqa_tui.engine.transport import EngineRecord, Transport, read_record, read_token

if TYPE_CHECKING:
    import httpx2

    from medqa_tui.paths import Paths

# While torch is being imported, the engine may take a second or two to say what it does.
_ANSWER_S = 5.0
_CONNECT_S = 5.0


def status(paths: Paths) -> EngineStatus | None:
    """Return what the running engine says of itself, or None if none answers."""
    return _ask(paths, "GET", "/v1/status")


def ask_to_stop(paths: Paths, when: str = "now") -> EngineStatus | None:
    """Ask the running engine to leave (`now`, or when `idle`); return its last words, if any."""
    return _ask(paths, "POST", f"/v1/stop?when={when}")


def async_client(paths: Paths, record: EngineRecord) -> httpx2.AsyncClient:
    """Return a client of the engine at `record`; the caller closes it."""
    import httpx2

    # Nothing but the engine may ever be asked, so no proxy of the environment takes part.
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=_uds(record)),
        timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S, read=None),
        trust_env=False,
        **_address(paths, record),
    )


def _ask(paths: Paths, method: str, path: str) -> EngineStatus | None:
    record = read_record(paths)
    if record is None:
        return None
    import httpx2

    try:
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=_uds(record)),
            timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
            trust_env=False,
            **_address(paths, record),
        ) as client:
            reply = client.request(method, path).raise_for_status()
            return EngineStatus.from_record(reply.json())
    except (httpx2.HTTPError, ValueError, TypeError, OSError):
        # Nobody is there, or it is no engine that answers.
        return None


def _uds(record: EngineRecord) -> str | None:
    return record.location if record.transport is Transport.SOCKET else None


def _address(paths: Paths, record: EngineRecord) -> dict[str, Any]:
    if record.transport is Transport.SOCKET:
        return {"base_url": "http://engine"}
    headers = {"Authorization": f"Bearer {read_token(paths)}"}
    return {"base_url": f"http://{record.location}", "headers": headers}
