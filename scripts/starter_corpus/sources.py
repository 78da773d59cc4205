"""The data sets the starter cards are compared with: their texts, addresses and runs of words."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medqa_tui.corpus.heldout import read_heldout

RUN = 12
NAMES = ("medquad", "wikidoc_patient_info", "medication_qa_2019")
_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """Return the words of a text, in small letters and without punctuation."""
    return _WORD.findall(text.lower())


def run_hashes(tokens: list[str], length: int = RUN) -> npt.NDArray[np.uint64]:
    """Return one 64-bit hash for each run of `length` words, in order; shape (runs,)."""
    if len(tokens) < length:
        return np.empty(0, np.uint64)
    each = np.fromiter((_hash(token) for token in tokens), np.uint64, len(tokens))
    total = np.zeros(len(tokens) - length + 1, np.uint64)
    for place in range(length):
        # A polynomial in an odd number, modulo 2**64: order matters, and no run is built as text.
        total = total * np.uint64(0x9E3779B97F4A7C15) + each[place : len(each) - length + 1 + place]
    return total


_HASHES: dict[str, int] = {}


def _hash(token: str) -> int:
    found = _HASHES.get(token)
    if found is None:
        found = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "big")
        _HASHES[token] = found
    return found


@dataclass(frozen=True)
class Sources:
    """The folder of data sets, read once.

    Attributes:
        cache: Where the hashes of all runs are kept between calls, since they take some seconds.
    """

    folder: Path
    cache: Path | None = None

    @cached_property
    def medquad(self) -> dict[str, dict[str, Any]]:
        """MedQuAD's rows by their id."""
        return {row["id"]: row for row in self._read("medquad")}

    @cached_property
    def medication_urls(self) -> frozenset[str]:
        """Addresses of Medication QA that belong to the United States government."""
        rows = self._read("medication_qa_2019")
        return frozenset(row["url"] for row in rows if row["us_gov_source"])

    @cached_property
    def medquad_urls(self) -> frozenset[str]:
        """Every address of a MedQuAD row."""
        return frozenset(row["url"] for row in self.medquad.values())

    @cached_property
    def runs(self) -> npt.NDArray[np.uint64]:
        """Hashes of every run of 12 words in the data sets, sorted; shape (runs,)."""
        if self.cache is not None and self.cache.exists():
            return np.load(self.cache)
        hashes = [
            run_hashes(words(value))
            for name in NAMES
            for row in self._read(name)
            for value in row.values()
            if isinstance(value, str)
        ]
        found = np.unique(np.concatenate(hashes))
        if self.cache is not None:
            np.save(self.cache, found)
        return found

    def shared_runs(self, text: str) -> list[str]:
        """Return the runs of 12 words that the text shares with a data set."""
        tokens = words(text)
        hashes = run_hashes(tokens)
        at = np.minimum(np.searchsorted(self.runs, hashes), len(self.runs) - 1)
        shared = np.flatnonzero(self.runs[at] == hashes)
        return [" ".join(tokens[start : start + RUN]) for start in shared]

    @cached_property
    def heldout(self) -> dict[str, re.Pattern[str]]:
        """What matches the words that betray each held-out topic, by the topic's first word."""
        return read_heldout(self.folder / "heldout_topics.txt")

    def _read(self, name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(self.folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
