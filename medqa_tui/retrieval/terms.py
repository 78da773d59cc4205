"""The words of a question: which carry its topic, which ask for an aspect, which carry nothing."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")

_STOPWORDS = """
a about above after again against all also am an and any are as at be because been before being
below between both but by can cannot could did do does doing done down during each either else
ever few for from further get gets getting give given go goes going got had has have having he her
here hers herself him himself his how i if in into is it its itself just let like lot many may
maybe me might more most much must my myself near no nor not now of off ok okay on once one only
or other our ours out over own per please pls quite rather really same say says shall she should
since so some such take takes tell than thank thanks that the their theirs them themselves then
there these they thing things this those through to too under until up upon us use used using very
via want was we were what when where whether which while who whom whose why will with within
without would yes yet you your yours yourself
"""
STOPWORDS = frozenset(_STOPWORDS.split())
"""English words that say nothing about the topic, as a search index leaves them out."""

_ASPECTS = """
advice affect affects apply avoid bad best better cause caused causes causing chance chances check
common complication complications contagious control cure cured cures danger dangerous deal detect
detected develop diagnose diagnosed diagnosing diagnosis difference different disease diseases
disorder disorders doctor doctors dose drug drugs early effect effects examples explain fact facts
feel find fix good happen happens harmful heal healed healthy help helps home illness important
information inherit inherited kind kinds know last lasts learn life live long look looks main make
makes manage managed management managing mean meaning means medical medication medications
medicine medicines method methods name names need needs normal often options outlook people person
possible prevent prevented preventing prevention problem problems prognosis quickly recover
recovery remedies remedy research risk risks safe safely serious severe side sign signs someone
sort spread spreads stage stages start stop symptom symptoms taking test tested testing tests
therapy think time treat treated treating treatment treatments type types understand usual usually
way ways work works worse
"""
ASPECTS = frozenset(_ASPECTS.split())
"""Words that ask for something about a topic without naming one."""


def words(text: str) -> list[str]:
    """Return the words of `text`, lower-cased, with possessive endings cut off."""
    return [normal(word) for word in surfaces(text)]


def surfaces(text: str) -> list[str]:
    """Return the words of `text` as they are written; one for each of `words`."""
    return [match.group() for match in _WORD.finditer(text)]


def normal(word: str) -> str:
    """Return one word as `words` gives it."""
    return word.lower().replace("\u2019", "'").removesuffix("'s")


def is_stopword(word: str) -> bool:
    """Return whether a lower-case word says nothing about a topic; contractions count as such."""
    return word in STOPWORDS or "'" in word


def topic_words(text: str) -> list[str]:
    """Return the words of `text` that name its topic, in order, each once."""
    return list(
        dict.fromkeys(word for word in words(text) if not is_stopword(word) and word not in ASPECTS)
    )
