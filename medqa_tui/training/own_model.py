"""A model all of whose weights were trained here, kept as an installed one beside the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.models.files import sha256_file, write_atomic
from medqa_tui.models.records import RECORD_NAME, TRAINED, InstallRecord, files_of
from medqa_tui.models.shipped import CARD_NAME

if TYPE_CHECKING:
    from medqa_tui.training.generator import Trained

_WEIGHTS = "model.safetensors"


def save_model(
    trained: Trained, folder: Path, name: str, base: Path, card: Mapping[str, Any]
) -> None:
    """Write weights as they were learnt, tokenizer, card and install record into `folder`."""
    trained.model.config.use_cache = True
    trained.model.save_pretrained(folder)
    # The tokenizer's own files: saved again they could differ from what adapters were made for.
    for path in base.iterdir():
        kept = path.suffix in {".safetensors", ".index"} or path.name in {RECORD_NAME, CARD_NAME}
        if path.is_file() and not kept and not (folder / path.name).exists():
            shutil.copy2(path, folder / path.name)
    weights = folder / _WEIGHTS
    whole = {**card, "weights_sha256": sha256_file(weights)} if weights.is_file() else dict(card)
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / CARD_NAME, text.encode())
    record_of(folder, name, card).write(folder)


def record_of(folder: Path, name: str, card: Mapping[str, Any]) -> InstallRecord:
    """Return the install record of a model that was trained here, as its files are now."""
    return InstallRecord(
        name=name,
        slot="generator",
        id=str(card["base"]),
        # No adapter of the base fits it any more.
        revision=f"{card['base_revision']}+{name}",
        licence=", ".join(filter(None, (str(card["base_licence"]), str(card["licence"])))),
        quantization=None,
        source=TRAINED,
        files=files_of(folder),
        installed=datetime.now(UTC).isoformat(timespec="seconds"),
    )
