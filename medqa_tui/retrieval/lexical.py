"""The BM25 arm: bm25s over stemmed words; no torch, no pickle."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import MedQAError
from medqa_tui.retrieval import terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K1 = 0.9
B = 0.4
METHOD = "lucene"
STEMMER = "english"
FILES = (
    "bm25-data.npy",
    "bm25-indices.npy",
    "bm25-indptr.npy",
    "bm25-vocabulary.json",
    "bm25-parameters.json",
)
_NAMES = {
    "data_name": FILES[0],
    "indices_name": FILES[1],
    "indptr_name": FILES[2],
    "vocab_name": FILES[3],
    "params_name": FILES[4],
}


class NothingToIndexError(MedQAError):
    """There is not one word to index."""


@cache
def stemmer() -> Any:
    """Return the stemmer of the lexical arm."""
    import Stemmer

    return Stemmer.Stemmer(STEMMER)


def tokenize(text: str) -> list[str]:
    """Return the stems of `text` as the index sees them.

    Single letters and digits stay, since "type 2", "vitamin D" and "hepatitis B" depend on them.
    """
    kept = [word for word in terms.words(text) if not terms.is_stopword(word)]
    return list(stemmer().stemWords(kept))


def matched_terms(query: str, text: str) -> tuple[str, ...]:
    """Return the words of `query`, as typed, whose stem occurs in `text`; each once, in order."""
    present = set(tokenize(text))
    kept = [word for word in terms.words(query) if not terms.is_stopword(word)]
    stems = stemmer().stemWords(kept)
    hits = (word for word, stem in zip(kept, stems, strict=True) if stem in present)
    return tuple(dict.fromkeys(hits))


def _numbered(texts: Iterable[str], vocabulary: dict[str, int]) -> list[array[int]]:
    """Return the stems of each text by their numbers in `vocabulary`, which grows.

    Four bytes a word: as a string of its own each would take sixty.
    """
    # A word is stemmed once; None stands for one that is left out.
    numbers: dict[str, int | None] = {}
    found = []
    for text in texts:
        row = array("i")
        for word in terms.words(text):
            if word not in numbers:
                stem = None if terms.is_stopword(word) else stemmer().stemWord(word)
                numbers[word] = stem and vocabulary.setdefault(stem, len(vocabulary))
            number = numbers[word]
            if number is not None:
                row.append(number)
        found.append(row)
    return found


class LexicalIndex:
    """Okapi BM25 scores over passages, addressed by their position in the index.

    k1 and b as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).
    """

    def __init__(self, model: Any, count: int) -> None:
        self._model = model
        self._count = count

    @classmethod
    def build(cls, texts: Iterable[str]) -> LexicalIndex:
        """Index `texts`; the n-th text is position n.

        Raises:
            NothingToIndexError: There is not one word in them.
        """
        import bm25s

        vocabulary: dict[str, int] = {}
        tokens = _numbered(texts, vocabulary)
        if not vocabulary:
            raise NothingToIndexError(
                "There is nothing to index.",
                "The passage store holds no text.",
                "Type: medqa-tui setup",
            )
        model = bm25s.BM25(k1=K1, b=B, method=METHOD, backend="numpy")
        model.index((tokens, vocabulary), show_progress=False)
        return cls(model, len(tokens))

    def save(self, folder: Path) -> None:
        """Write the index's files (`FILES`) into `folder`."""
        self._model.save(str(folder), show_progress=False, allow_pickle=False, **_NAMES)

    @classmethod
    def load(cls, folder: Path) -> LexicalIndex:
        """Read what `save` wrote; the caller has checked the files' hashes.

        Raises:
            MedQAError: The files are no such index.
        """
        import bm25s

        try:
            model = bm25s.BM25.load(
                str(folder), mmap=True, allow_pickle=False, show_progress=False, **_NAMES
            )
            return cls(model, int(model.scores["num_docs"]))
        except (OSError, ValueError, KeyError) as error:
            raise MedQAError(
                "The word index could not be read.",
                f"{folder}: {error}.",
                "Type: medqa-tui index build",
            ) from error

    def __len__(self) -> int:
        return self._count

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return the BM25 score of every passage, float32 of shape (count,); 0 is no match."""
        import numpy as np

        known = [token for token in tokenize(query) if token in self._model.vocab_dict]
        if not known:
            return np.zeros(self._count, dtype=np.float32)
        return np.asarray(self._model.get_scores(known), dtype=np.float32)

    def idf(self, stem: str) -> float:
        """Return the inverse document frequency of a stem; 0 for one that no passage has."""
        token = self._model.vocab_dict.get(stem)
        if token is None:
            return 0.0
        bounds = self._model.scores["indptr"]
        having = int(bounds[token + 1]) - int(bounds[token])
        return math.log(1 + (self._count - having + 0.5) / (having + 0.5))

    def coverage(self, query: str, positions: Sequence[int]) -> float:
        """Return the share of the query's topic words, in [0, 1], that one passage holds.

        Anything that was indexed counts, other phrasings too; the best of `positions` decides.
        """
        import numpy as np

        wanted = stemmer().stemWords(terms.topic_words(query))
        if not wanted or not positions:
            return 0.0
        counts = np.zeros(len(positions), dtype=np.int32)
        for token in wanted:
            if token in self._model.vocab_dict:
                counts += np.asarray(self._model.get_scores([token]))[list(positions)] > 0
        return float(counts.max()) / len(wanted)


def best(
    scores: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
) -> list[tuple[int, float]]:
    """Return the `k` best (position, score) above 0, best first; ties go to the lower position."""
    import numpy as np

    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(0))
    hits = np.flatnonzero(scores > 0)
    if len(hits) > k:
        # Everything that ties with the k-th stays in until the sort decides.
        threshold = np.partition(scores[hits], len(hits) - k)[len(hits) - k]
        hits = hits[scores[hits] >= threshold]
    order = np.lexsort((hits, -scores[hits]))[:k]
    return [(int(hits[i]), float(scores[hits[i]])) for i in order]
