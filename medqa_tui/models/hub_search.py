"""Asking the model hub which adapters it has; only when the user asks for that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from medqa_tui.errors import DownloadError
from medqa_tui.safety.sanitize import clean

_LIMIT = 30
_AGAIN = "medqa-tui adapter search (without --hub, it needs no network)"


@dataclass(frozen=True, slots=True)
class FoundAdapter:
    """An adapter that the hub lists; nothing of it was looked at yet.

    Attributes:
        base: As its tags say it, empty if they do not.
    """

    id: str
    base: str
    licence: str
    downloads: int
    gated: bool


def search_hub(words: tuple[str, ...], base: str | None = None) -> list[FoundAdapter]:
    """Return the PEFT adapters that the hub finds for `words`, most downloaded first.

    Args:
        base: Public id of a model; only its adapters then.

    Raises:
        DownloadError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    tags = ["peft", *([f"base_model:adapter:{base}"] if base else [])]
    try:
        rows = HfApi().list_models(search=" ".join(words) or None, filter=tags, limit=_LIMIT)
        first = itertools.islice(rows, _LIMIT)
        return [_found(row.id, row.tags, row.downloads, row.gated) for row in first]
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            "The model hub may not be asked.", "HF_HUB_OFFLINE is set.", _AGAIN
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise DownloadError(
            "The model hub refused the search.", f"HTTP {status}.", _AGAIN
        ) from error
    except (OSError, ValueError) as error:
        raise _unreachable(error) from error
    except Exception as error:
        # The client's own connection errors are no OSErrors.
        if type(error).__module__.partition(".")[0] not in {"httpx", "httpx2", "httpcore"}:
            raise
        raise _unreachable(error) from error


def _found(id: str, tags: list[str] | None, downloads: int | None, gated: object) -> FoundAdapter:
    known = [clean(str(tag), False) for tag in tags or ()]
    return FoundAdapter(
        id=clean(id, False),
        base=_tagged(known, "base_model:adapter:") or _tagged(known, "base_model:"),
        licence=_tagged(known, "license:"),
        downloads=downloads or 0,
        gated=bool(gated),
    )


def _tagged(tags: list[str], start: str) -> str:
    return next((tag.removeprefix(start) for tag in tags if tag.startswith(start)), "")


def _unreachable(error: Exception) -> DownloadError:
    return DownloadError(
        "The model hub cannot be reached.", f"{type(error).__name__}: {error}"[:300], _AGAIN
    )
