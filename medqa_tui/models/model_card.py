"""What a model card says of itself: the front matter of a README, as the hub writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medqa_tui.safety.sanitize import clean

_NAME = "README.md"
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MAX_BYTES = 64_000
_MAX_ITEMS = 20
_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the maker of a model reports; nothing of it was checked by anybody.

    Attributes:
        licence: As the card names it, empty if it names none.
        bases: Ids of the models it was made from.
        metrics: Each as "MedQA: accuracy 0.41".
    """

    licence: str = ""
    bases: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what the card in `folder` says; an empty one if it cannot be read."""
        try:
            with (folder / _NAME).open("rb") as file:
                text = file.read(_MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            return cls()
        front = _FRONT.match(text)
        return cls.of_row(_parsed(front[1])) if front else cls()

    @classmethod
    def of_row(cls, row: Any) -> Self:
        """Return the card of a parsed front matter, whatever it holds."""
        if not isinstance(row, dict):
            return cls()
        licences = _words(row.get("license"))
        if licences == ("other",):
            licences = _words(row.get("license_name")) or licences
        measured = tuple(_metrics(row.get("model-index")))[:_MAX_ITEMS]
        return cls(
            licence=", ".join(licences),
            bases=_words(row.get("base_model")),
            datasets=_words(row.get("datasets")),
            languages=_words(row.get("language")),
            metrics=measured or _words(row.get("metrics")),
        )


def _parsed(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _words(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    words = [_word(item) for item in items[:_MAX_ITEMS] if isinstance(item, str | int | float)]
    return tuple(word for word in words if word)


def _word(value: Any) -> str:
    return clean(str(value)[:_MAX_CHARS], False).strip()


def _metrics(index: Any) -> Iterator[str]:
    for model in _dicts(index):
        for result in _dicts(model.get("results")):
            data = result.get("dataset")
            name = (
                _word(data.get("name") or data.get("type") or "") if isinstance(data, dict) else ""
            )
            for metric in _dicts(result.get("metrics")):
                kind = _word(metric.get("name") or metric.get("type") or "metric")
                value = metric.get("value")
                if isinstance(value, str | int | float):
                    said = f"{kind} {_word(value)}"
                    yield f"{name}: {said}" if name else said


def _dicts(value: Any) -> list[dict[str, Any]]:
    items = value[:_MAX_ITEMS] if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
