"""Documents that say what another one says already: the same words, or all but a few of them.

MinHash signatures of word 5-grams with locality-sensitive hashing (Broder, 1997; datasketch).
Near is only what asks the same question and names the same numbers: two diseases may share a table
of symptoms but for its rows, and "5 mg" is not "50 mg".
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medqa_tui.corpus.document import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEAR = 0.9
"""Share of common 5-grams (Jaccard) from which two texts count as one."""

_PERMUTATIONS = 128
# Candidates are asked for a little below, so that few near ones are missed.
_CANDIDATES = 0.8
_SHINGLE = 5
_WORD = re.compile(r"\w+")
_NEGATION = frozenset(["no", "not", "never", "without", "cannot", "neither", "nor", "none"])


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Which document came first, and whether it is the same word for word."""

    of: str
    exact: bool


class Duplicates:
    """Remembers documents and recognises those that add nothing."""

    def __init__(self) -> None:
        self._exact: dict[bytes, str] = {}
        # The first of each kind waits here; only a second one makes both worth indexing.
        self._first: dict[bytes, tuple[str, bytes] | None] = {}
        self._signatures: dict[tuple[bytes, str], Any] = {}
        self._near: Any = None
        self._make: Any = None

    def find(self, document: Document) -> Duplicate | None:
        """Return what `document` repeats; if nothing, remember it."""
        asked, words = _words(document.question), _words(document.text)
        key = _digest([*asked, "\n", *words])
        if key in self._exact:
            return Duplicate(self._exact[key], exact=True)
        # Equal numbers and negations in equal order: without them a text may say the opposite.
        kind = _digest([*asked, "\n", *(w for w in words if w in _NEGATION or not w.isalpha())])
        near = self._find_near(kind, document, words)
        if near is not None:
            return Duplicate(near, exact=False)
        self._exact[key] = document.id
        return None

    def _find_near(self, kind: bytes, new: Document, words: Sequence[str]) -> str | None:
        if len(words) < 4 * _SHINGLE:
            # In a short text each word counts.
            return None
        if kind not in self._first:
            self._first[kind] = (new.id, zlib.compress(new.text.encode(), level=1))
            return None
        first = self._first[kind]
        if first is not None:
            text = zlib.decompress(first[1]).decode()
            self._insert(kind, first[0], self._signature(_words(text)))
            self._first[kind] = None
        signature = self._signature(words)
        for other in self._near.query(signature):
            if other[0] == kind and signature.jaccard(self._signatures[other]) >= NEAR:
                return str(other[1])
        self._insert(kind, new.id, signature)
        return None

    def _insert(self, kind: bytes, id: str, signature: Any) -> None:
        from datasketch import MinHashLSH

        if self._near is None:
            self._near = MinHashLSH(threshold=_CANDIDATES, num_perm=_PERMUTATIONS)
        self._signatures[kind, id] = signature
        self._near.insert((kind, id), signature, check_duplication=False)

    def _signature(self, words: Sequence[str]) -> Any:
        from datasketch import MinHash

        if self._make is None:
            self._make = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)
        made = self._make.copy()
        made.update_batch(_shingles(words).tolist())
        return made


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _digest(words: Sequence[str]) -> bytes:
    return hashlib.blake2b("\x00".join(words).encode(), digest_size=16).digest()


def _shingles(words: Sequence[str]) -> NDArray[Any]:
    """Return the hashes of the word 5-grams, each once: uint32."""
    import numpy as np

    each = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))
    count = len(words) - _SHINGLE + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(_SHINGLE):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + each[offset : offset + count]
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))
