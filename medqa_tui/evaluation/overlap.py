"""How near an answer is to a reference, by words; the scores that papers report.

Token F1 and exact match are SQuAD's (Rajpurkar et al., EMNLP 2016), ROUGE-L is of rouge-score with
its stemmer (Lin, 2004), BLEU of sacrebleu (Post, WMT 2018), here of one answer, so with the
exponential smoothing and the effective order that sacrebleu takes for sentences.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from medqa_tui.errors import MedQAError
from medqa_tui.grounding.citations import parse
from medqa_tui.grounding.sentences import split_sentences

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
COPIED = 8
"""Words in a row that count as copied."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """An answer against its reference; every score is in [0, 1], higher is better."""

    f1: float = 0.0
    exact: float = 0.0
    rouge_l: float = 0.0
    bleu: float = 0.0


def plain(text: str) -> str:
    """Return an answer without its citation marks."""
    return " ".join(parse(sentence)[0] for sentence in split_sentences(text))


def tokens(text: str) -> list[str]:
    """Return the words of `text` as SQuAD compares them: small, without articles and points."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of the precision and the recall of words; 1 if both are empty."""
    said, wanted = tokens(answer), tokens(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def exact_match(answer: str, reference: str) -> float:
    """Return 1 if both have the same words in the same order, else 0."""
    return float(tokens(answer) == tokens(reference))


def rouge_l(answer: str, reference: str) -> float:
    """Return ROUGE-L as an F-measure: the longest common subsequence of word stems.

    Raises:
        MedQAError: rouge-score is not installed.
    """
    found: float = _rouge().score(reference, answer)["rougeL"].fmeasure
    return found


def bleu(answer: str, reference: str) -> float:
    """Return sentence BLEU in [0, 1], which sacrebleu gives as a percentage.

    Raises:
        MedQAError: sacrebleu is not installed.
    """
    if not answer.strip():
        return 0.0
    score: float = _bleu().sentence_score(answer, [reference]).score
    return min(1.0, score / 100.0)


def overlap(answer: str, reference: str) -> Overlap:
    """Return every score of `answer`, its citation marks left out, against `reference`.

    Raises:
        MedQAError: The libraries that measure are not installed.
    """
    said = plain(answer)
    return Overlap(
        token_f1(said, reference),
        exact_match(said, reference),
        rouge_l(said, reference),
        bleu(said, reference),
    )


def copied(answer: str, passages: Sequence[str], length: int = COPIED) -> float:
    """Return the share of the answer's runs of `length` words that stand in a passage.

    An answer of fewer words has no run, so nothing of it counts as copied.
    """

    def runs(text: str) -> list[tuple[str, ...]]:
        words = re.findall(r"[a-z0-9]+", text.lower())
        return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]

    said = runs(plain(answer))
    known = {run for text in passages for run in runs(text)}
    return sum(run in known for run in said) / len(said) if said else 0.0


def length_in_words(answer: str) -> int:
    """Return how many words the answer has, citation marks left out."""
    return len(plain(answer).split())


def within(text: str, words: int) -> tuple[str, ...]:
    """Return the leading sentences, with their marks, that fit into so many words.

    A first sentence that is too long by itself is clipped, and keeps its mark.
    """
    kept: list[str] = []
    left = words
    for sentence in split_sentences(text):
        said = parse(sentence)[0].split()
        if len(said) > left:
            return tuple(kept or [_clipped(sentence, said, words)])
        kept.append(sentence)
        left -= len(said)
    return tuple(kept)


def _clipped(sentence: str, said: Sequence[str], words: int) -> str:
    from medqa_tui.grounding.citations import format_marks

    marks = format_marks(parse(sentence)[1])
    return f"{' '.join(said[:words])} {marks}".rstrip()


def shortened(reference: str, words: int) -> str:
    """Return a reference of at most so many words: one page-long says nothing about short ones."""
    return " ".join(reference.split()[:words])


def ranking_auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return how often a value of `positive` is above one of `negative`; None without both.

    The area under the ROC curve, equal values counting half.
    """
    if not positive or not negative:
        return None
    from sklearn.metrics import roc_auc_score

    labels = [1] * len(positive) + [0] * len(negative)
    return float(roc_auc_score(labels, [*positive, *negative]))


def require_libraries() -> None:
    """Raise unless the libraries that measure are installed.

    Raises:
        MedQAError: They are not.
    """
    from importlib.util import find_spec

    missing = [name for name in ("rouge_score", "sacrebleu") if find_spec(name) is None]
    if missing:
        raise MedQAError(
            "The measuring libraries are not installed.",
            f"Missing: {', '.join(missing)}.",
            'pip install "medqa-tui[eval]"',
        )


@cache
def _rouge() -> Any:
    require_libraries()
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


@cache
def _bleu() -> Any:
    require_libraries()
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)
