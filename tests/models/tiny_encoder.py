"""A tiny random encoder with an install record: what a reranker's adapter lies over."""

from __future__ import annotations

import json
from pathlib import Path

from medqa_tui.models.files import sha256_file
from medqa_tui.models.records import RECORD_NAME

from .tiny_bert import build_sentence_transformer

BASE_ID = "tests/tiny-encoder"
REVISION = "tiny==1"


def build(folder: Path, *, seed: int = 0, base_id: str = BASE_ID, name: str = "tiny") -> Path:
    """Write a sentence-transformers folder, which a cross-encoder reads as a plain BERT."""
    made = build_sentence_transformer(folder.with_name(folder.name + "-raw"), seed=seed)
    made.rename(folder)
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    record = {
        "name": name,
        "slot": "embedder",
        "id": base_id,
        "revision": REVISION,
        "licence": "none",
        "quantization": None,
        "source": "made by a test",
        "files": files,
        "installed": "2026-01-01T00:00:00+00:00",
    }
    (folder / RECORD_NAME).write_text(json.dumps(record))
    return folder
