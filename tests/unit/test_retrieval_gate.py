from dataclasses import replace

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder

from medqa_tui.domain import Evidence, Passage, Scores
from medqa_tui.retrieval.gate import MOST_SENTENCES, Corpus, Signals, log_odds, signals_of
from medqa_tui.retrieval.relevance import is_relevant

SIGNALS = Signals(cosine=0.6, words=2.0, missed=0.05, foreign=0)


def found(text: str, dense: float = 0.6, bm25: float = 10.0) -> tuple[Evidence, ...]:
    passage = Passage("c:1#0", "c", "1", "", text)
    return (Evidence(1, passage, Scores(dense=dense, bm25=bm25)),)


def corpus(embedder: HashingEmbedder, *, common: bool = True) -> Corpus:
    return Corpus(1000, lambda _: 4.0, lambda _: common, embedder.encode)


def signals(query: str, evidence: tuple[Evidence, ...], *, common: bool = True) -> Signals:
    embedder = HashingEmbedder()
    return signals_of(
        query, embedder.encode_query(query), evidence, corpus(embedder, common=common)
    )


@pytest.mark.parametrize("better", [{"cosine": 0.7}, {"words": 3.0}, {"missed": 0.0}])
def test_what_is_nearer_or_shares_more_never_counts_against(better):
    assert log_odds(replace(SIGNALS, **better)) > log_odds(SIGNALS)


def test_a_name_that_nothing_found_has_counts_against():
    assert log_odds(replace(SIGNALS, foreign=1)) < log_odds(SIGNALS)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # A card asked for in other words, by the median of its signals.
        (Signals(0.68, 3.3, 0.03, 0), True),
        # Lay words that the passages do not have.
        (Signals(0.55, 2.0, 0.02, 0), True),
        # "Who won the 1998 World Cup?"
        (Signals(0.16, 0.8, 0.05, 0), False),
        # All the words are there, and no sentence that says it.
        (Signals(0.55, 2.0, 0.15, 0), False),
        # A disease that no passage names.
        (Signals(0.5, 1.0, 0.05, 2), False),
    ],
)
def test_the_signals_decide_where_there_are_any(seen, expected):
    assert is_relevant("anything", found("Text."), signals=seen) is expected


def test_nothing_is_missed_where_a_sentence_says_it_or_no_word_is_shared():
    asked = "what causes gout"
    assert signals(asked, found("What causes gout. Another thing.")).missed == 0.0
    assert signals(asked, found("Nobody spoke here.")).missed == 0.0
    assert signals(asked, found("")).missed == 0.0
    assert signals(asked, found("Gout causes long stories told by old men at night.")).missed > 0.0


def test_names_are_counted_that_no_passage_found_has():
    asked = "symptoms of fibrodysplasia"
    assert signals(asked, found("Symptoms of gout."), common=False).foreign == 1
    assert signals(asked, found("Symptoms of gout.")).foreign == 0
    assert signals(asked, found("Fibrodysplasia hurts."), common=False).foreign == 0


def test_a_few_sentences_are_embedded_however_much_was_found():
    embedder = HashingEmbedder()
    query = embedder.encode_query("gout")
    embedder.encoded.clear()
    signals_of("gout", query, found("Gout hurts. " * 50), corpus(embedder))
    assert len(embedder.encoded) == MOST_SENTENCES


def test_scores_that_are_missing_count_as_nothing():
    (item,) = found("Text.")
    bare = replace(item, scores=Scores(dense=0.5))
    embedder = HashingEmbedder()
    told = signals_of("", np.zeros(48, np.float32), (bare,), corpus(embedder))
    assert told == Signals(0.5, 0.0, 0.0, 0)
