"""Adapters that ship inside the package, and the card that each of them carries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medqa_tui.errors import MedQAError
from medqa_tui.models.files import sha256_file

CARD_NAME = "card.json"
WEIGHTS_NAME = "adapter_model.safetensors"
_BOUND = "abstain_logprob"


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """What an adapter was made for, and from what.

    Attributes:
        base: Public id of the model it fits.
        base_revision: The pinned source that model was made from.
        template_sha256: Hash of the prompt's fixed words that it was trained with.
        weights_sha256: Hash of its weights file.
        abstain_logprob: Least log-probability at which the model may decline; None sets no bound.
    """

    name: str
    title: str
    base: str
    base_revision: str
    licence: str
    attribution: str
    template_sha256: str
    weights_sha256: str
    abstain_logprob: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the card in `folder`.

        Raises:
            MedQAError: There is none, or it is not a card.
        """
        path = folder / CARD_NAME
        try:
            row: dict[str, Any] = json.loads(path.read_bytes())
            bound = row.get(_BOUND)
            words = {name: str(row[name]) for name in cls.__dataclass_fields__ if name != _BOUND}
            return cls(**words, abstain_logprob=None if bound is None else float(bound))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MedQAError(
                "The adapter has no readable card.",
                f"{path}: {type(error).__name__}.",
                "Install the program again.",
            ) from error


def attribution(folder: Path) -> str:
    """Return whose data an adapter made by this program was trained on; empty if no card says."""
    try:
        return str(json.loads((folder / CARD_NAME).read_bytes())["attribution"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def shipped_folder(name: str) -> Path | None:
    """Return the folder of the adapter `name` inside the package, or None if none ships."""
    folder = Path(__file__).parent / "adapters" / name
    return folder if (folder / CARD_NAME).is_file() else None


def shipped_names() -> tuple[str, ...]:
    """Return the names of the generators' adapters inside the package; re-rankers are none."""
    return tuple(sorted(each.name for each in _folders() if not is_reranker(each)))


def shipped_rerankers() -> tuple[str, ...]:
    """Return the names of the adapters inside the package that make a re-ranker."""
    return tuple(sorted(each.name for each in _folders() if is_reranker(each)))


def _folders() -> list[Path]:
    folder = Path(__file__).parent / "adapters"
    return [path.parent for path in folder.glob(f"*/{CARD_NAME}")]


def is_reranker(folder: Path) -> bool:
    """Say whether the adapter in `folder` makes a re-ranker of an embedder, by its card."""
    try:
        card = json.loads((folder / CARD_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(card, dict) and card.get("kind") == "reranker"


def adapter_problems(
    folder: Path, base: str, *, revision: str | None = None, deep: bool = False
) -> list[str]:
    """Return why the adapter in `folder` cannot be used on `base`, in words.

    Args:
        base: Public id of the model in use.
        revision: The pinned source that the model was made from; None if it is not known.
        deep: Hash its weights as well.
    """
    try:
        card = AdapterCard.read(folder)
    except MedQAError as error:
        return [f"{error.title} {error.detail}"]
    weights = folder / WEIGHTS_NAME
    if card.base != base:
        return [f"The adapter {card.name} was made for {card.base}, not for {base}."]
    if revision is not None and card.base_revision != revision:
        return [f"The adapter {card.name} was made for {card.base_revision}, not for {revision}."]
    if not weights.is_file():
        return [f"{weights} is missing."]
    if deep and sha256_file(weights) != card.weights_sha256:
        return [f"{weights} is not what was shipped: its SHA-256 differs."]
    return []
