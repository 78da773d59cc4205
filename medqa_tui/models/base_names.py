"""Which model an adapter was made for, however its maker's tools wrote that down."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)(?:[/\\]|$)")
# Copies of a model in another format train the same adapters.
_FORMATS = re.compile(r"(-unsloth)?(-bnb-4bit|-nf4|-4bit|-bf16|-gguf|-gptq|-awq)$|-unsloth$")
_COPIES = {"unsloth"}


def is_hub_id(text: str) -> bool:
    """Say whether `text` can be an id such as `google/flan-t5-base`."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text


def same_base(written: str, known: str) -> bool:
    """Say whether `written`, from an adapter's configuration, means the model `known`.

    `written` may be an id in other letter case, a quantized copy's id, a path into a hub cache, or
    the absolute path of a folder that is called like the model.
    """
    owner, name = _parts(written)
    known_owner, known_name = _parts(known)
    return name == known_name and (owner in {"", known_owner} or owner in _COPIES)


def find_base(written: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `written` means, or None."""
    candidates = list(known)
    if written in candidates:
        return written
    return next((each for each in candidates if same_base(written, each)), None)


def _parts(written: str) -> tuple[str, str]:
    """Return the owner (empty if it is not known) and the name, both as compared."""
    text = written.strip().casefold()
    if cached := _CACHED.search(text):
        owner, name = cached[1], cached[2]
    elif is_hub_id(text):
        owner, name = text.split("/")
    else:
        owner, name = "", re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return owner, _FORMATS.sub("", name)
