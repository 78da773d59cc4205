"""The card of a run: what an adapter was made from, how, and what it changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medqa_tui.models.files import sha256_file, write_atomic
from medqa_tui.models.shipped import CARD_NAME, WEIGHTS_NAME
from medqa_tui.training.sources import Source


def data_record(sources: Sequence[Source]) -> dict[str, Any]:
    """Return what a card says of the data: hashes, counts, and what was refused."""
    return {
        source.name: {
            "sha256": dict(source.hashes),
            "examples": len(source.examples),
            "refused_heldout_topics": dict(sorted(source.heldout.items())),
            "left_out": dict(source.skipped),
            "licence": source.licence,
            "attribution": source.attribution,
        }
        for source in sources
    }


def git_revision() -> str | None:
    """Return the commit of the program's own source tree, if it runs from one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card beside the weights, with their hash, by one rename."""
    full = {**card, "weights_sha256": sha256_file(folder / WEIGHTS_NAME)}
    text = json.dumps(full, indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / CARD_NAME, text.encode())
