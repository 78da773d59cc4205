"""Which words betray a held-out topic, and which only look like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medqa_tui.corpus.heldout import read_heldout


@pytest.mark.parametrize(
    ("text", "betrayed"),
    [
        ("Diverticulitis hurts.", ["diverticul"]),
        ("HIV or AIDS", ["hiv"]),
        ("hives and a hearing aid", []),
        ("a kidney\nstone", ["kidney stone"]),
        ("Renal-calculi", ["kidney stone"]),
        ("my kidney and a stone", []),
    ],
)
def test_short_words_are_whole_and_long_ones_may_be_stems(
    tmp_path: Path, text: str, betrayed: list[str]
) -> None:
    file = tmp_path / "topics.txt"
    file.write_text("# a note\nhiv|aids\n\nkidney stone| renal calculi\ndiverticul\n")
    found = [name for name, pattern in read_heldout(file).items() if pattern.search(text)]
    assert found == betrayed
