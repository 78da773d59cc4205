"""The check of the starter cards: on the real data sets, and on small ones that it must refuse."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medqa_tui.corpus.cards import Card, Split, load_cards

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "starter_corpus" / "check.py"
DATA = os.environ.get("MEDQA_BENCH_DATA", "")
CARDS = load_cards()
SETS = ("medquad", "wikidoc_patient_info", "medication_qa_2019")


def check(data: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--data", str(data), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not DATA, reason="needs the data sets: set MEDQA_BENCH_DATA to their folder")
def test_the_cards_pass_every_check() -> None:
    done = check(Path(DATA))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of data sets in which every address of a card is known."""

    def make(answer: str = "Nothing.", heldout: str = "no such topic") -> Path:
        rows = [
            {"id": f"r{n}", "answer": answer, "url": url, "us_gov_source": True}
            for n, url in enumerate(sorted({card.url for card in CARDS}))
        ]
        for name in SETS:
            with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "heldout_topics.txt").write_text(f"# topics\n{heldout}\n", encoding="utf-8")
        return tmp_path

    return make


def problems_of(done: subprocess.CompletedProcess[str], card: Card) -> str:
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith(f"{card.id}:"))


def test_a_sentence_of_a_source_is_found_and_eleven_words_are_not(
    data: Callable[..., Path],
) -> None:
    card = next(card for card in CARDS if card.split is Split.TRAIN)
    words = card.answer.split()
    eleven = check(data(" ".join(words[:11])), "--only", card.file)
    assert "shares with a data set" not in problems_of(eleven, card)
    twelve = check(data(" ".join(words[:12]).upper()), "--only", card.file)
    assert twelve.returncode == 1
    assert "shares with a data set" in problems_of(twelve, card)


def test_a_held_out_word_in_a_training_card_is_found(data: Callable[..., Path]) -> None:
    card = next(card for card in CARDS if card.split is Split.TRAIN)
    word = max(card.answer.lower().split(), key=len).strip(".,")
    done = check(data(heldout=f"other|{word}"), "--only", card.file)
    assert "touches a held-out topic" in problems_of(done, card)


def test_a_checked_card_whose_words_no_source_holds_is_found(data: Callable[..., Path]) -> None:
    card = next(card for card in CARDS if card.checked)
    done = check(data(), "--only", card.file)
    assert done.returncode == 1
    assert problems_of(done, card)
