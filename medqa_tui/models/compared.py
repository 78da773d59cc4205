"""What comparing an adapter showed, kept beside it, and whether that speaks against using it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import MedQAError
from medqa_tui.models.adapter_config import CONFIG_NAME
from medqa_tui.models.files import sha256_file, write_atomic
from medqa_tui.models.shipped import CARD_NAME, WEIGHTS_NAME, AdapterCard
from medqa_tui.paths import Paths, ensure

if TYPE_CHECKING:
    from medqa_tui.models.active import Active
    from medqa_tui.models.adapters import InstalledAdapter

RECORD_NAME = "comparison.json"
BASE = "base"
"""The name under which the model without an adapter is compared."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """An adapter against one other, or against the model without any.

    Attributes:
        against_sha256: Fingerprint of the other adapter; empty for the base.
        data: What the held-out set is called.
        data_sha256: Its hash.
        questions: How many there were, with evidence that answers and without.
        measured: ISO time (UTC).
        figures: Per measure, of both and of the difference.
        regressions: In what it is worse where that must not be, a sentence each.
    """

    against: str
    against_sha256: str
    data: str
    data_sha256: str
    questions: tuple[int, int]
    words: int
    measured: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    regressions: tuple[str, ...] = ()


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 (hex) of all of an adapter that its answers depend on.

    Raises:
        MedQAError: A file of it is missing or cannot be read.
    """
    parts = []
    try:
        for name in (WEIGHTS_NAME, CONFIG_NAME):
            parts.append(sha256_file(folder / name))
    except OSError as error:
        raise MedQAError(
            "The adapter's files cannot be read.",
            f"{error.filename}: {error.strerror}.",
            "medqa-tui adapter list",
        ) from error
    if (folder / CARD_NAME).is_file():
        card = AdapterCard.read(folder)
        parts += [card.template_sha256, str(card.abstain_logprob)]
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def read(paths: Paths, adapter: InstalledAdapter) -> tuple[Compared, ...]:
    """Return the comparisons of the adapter as it is now; those of what it was are void."""
    for file in (_file(paths, adapter), adapter.folder / RECORD_NAME):
        try:
            record = json.loads(file.read_bytes())
            if record["schema_version"] == _VERSION and record["adapter_sha256"] == fingerprint(
                adapter.folder
            ):
                return tuple(_compared(row) for row in record["compared"])
        except (OSError, ValueError, KeyError, TypeError, MedQAError):
            continue
    return ()


def write(paths: Paths, adapter: InstalledAdapter, compared: Compared) -> Path:
    """Keep a comparison beside the adapter, in the place of an earlier one with the same other.

    One that ships has its record under the data folder, as the package may not be changed.

    Raises:
        MedQAError: The disk refuses.
    """
    others = [each for each in read(paths, adapter) if each.against != compared.against]
    record = {
        "schema_version": _VERSION,
        "adapter": adapter.name,
        "adapter_sha256": fingerprint(adapter.folder),
        "base": adapter.base,
        "compared": [asdict(each) for each in (*others, compared)],
    }
    file = _file(paths, adapter)
    ensure(file.parent)
    try:
        write_atomic(file, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise MedQAError(
            "The comparison could not be kept beside the adapter.",
            f"{file}: {error.strerror or error}.",
            "Check the folder's permissions, then type the same command.",
        ) from error
    return file


def standing(paths: Paths, adapter: InstalledAdapter, active: Active) -> Compared | None:
    """Return how the adapter compares with what the profile answers with now.

    Where that was not measured, or has changed since, how it compares with the base; else None.
    """
    found = {each.against: each for each in read(paths, adapter)}
    folder = active.adapter_dir(paths)
    if active.adapter in found and folder is not None:
        against = found[active.adapter]
        try:
            if against.against_sha256 == fingerprint(folder):
                return against
        except MedQAError:
            pass
    return found.get(BASE)


def require_no_regression(paths: Paths, adapter: InstalledAdapter, active: Active) -> None:
    """Refuse an adapter that was measured to be worse in safety or in abstention.

    Raises:
        MedQAError: It was; the detail has the figures.
    """
    found = standing(paths, adapter, active)
    if found is None or not found.regressions:
        return
    raise MedQAError(
        f"{adapter.name} was measured to be worse than "
        f"{'the model without an adapter' if found.against == BASE else found.against} "
        "where that may hurt.",
        " ".join(found.regressions),
        f"medqa-tui adapter use {adapter.name} --force (answers with it all the same)",
    )


def _file(paths: Paths, adapter: InstalledAdapter) -> Path:
    if adapter.folder.parent == paths.adapters:
        return adapter.folder / RECORD_NAME
    return paths.data / "comparisons" / f"{adapter.name}.json"


def _compared(row: Mapping[str, Any]) -> Compared:
    values = dict(row)
    answerable, unanswerable = values.pop("questions")
    regressions = tuple(str(each) for each in values.pop("regressions"))
    return Compared(
        **values, questions=(int(answerable), int(unanswerable)), regressions=regressions
    )
