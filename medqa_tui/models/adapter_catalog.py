"""Public adapters that are known to exist; the facts lie in adapters.toml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from medqa_tui.models.base_names import same_base


@dataclass(frozen=True, slots=True)
class PublicAdapter:
    """An adapter that somebody published.

    Attributes:
        licence: Empty where nothing that was read names it.
        reported: What its maker measured, in words; checked by nobody here.
        read: What the entry rests on: `card` or `code`.
        unverified: What could not be checked.
        words: What it is found by, beside its id, base and note.
    """

    id: str
    base: str
    note: str
    read: str
    licence: str = ""
    datasets: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def matches(self, words: tuple[str, ...], base: str | None) -> bool:
        """Say whether every word occurs in what is known of it, and the base is its base."""
        parts = (self.id, self.base, self.note, self.licence, *self.words, *self.datasets)
        text = " ".join(parts).casefold()
        if not all(word.casefold() in text for word in words):
            return False
        return base is None or same_base(base, self.base) or base.casefold() in text


@cache
def public_adapters() -> tuple[PublicAdapter, ...]:
    """Return every adapter of the list."""
    import tomllib
    from importlib.resources import files

    text = files("medqa_tui.models").joinpath("adapters.toml").read_text("utf-8")
    return tuple(_adapter(row) for row in tomllib.loads(text)["adapter"])


def _adapter(row: dict[str, Any]) -> PublicAdapter:
    values: dict[str, Any] = {}
    for key, value in row.items():
        values[key] = tuple(value) if isinstance(value, list) else value
    return PublicAdapter(**values)


def search(words: tuple[str, ...] = (), base: str | None = None) -> list[PublicAdapter]:
    """Return the known adapters that have every word, for the model `base` if one is given."""
    return [adapter for adapter in public_adapters() if adapter.matches(words, base)]
