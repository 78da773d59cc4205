"""Words of a sentence as the checks compare them: light stems, numbers, what is negated."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+(?:'[a-z]+)?|[;:,.!?()]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CLAUSE_END = frozenset(";:,.!?()")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a an and are as at be been being but by can could did do does for from had has have he
        her his how i if in into is it its may might must my of on or other our out own s shall
        she should so some such t than that the their them then there these they this those to
        too up very was we were what when where which while who whom why will with would you
        your yours also any both each every either about between just like because however often
        usually sometimes many one us me am get gets got
        """,
    )
)
_NEGATION = frozenset(
    re.findall(
        r"\w+",
        """
        no not never without cannot nor neither none cant dont doesnt isnt arent wont nothing
        """,
    )
)
# A negation reaches this many content words, within its clause.
_REACH = 3
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve"), start=2
    )
}
# Stems that turn a fact around when one stands for the other.
_OPPOSITES = (
    ("increas", "decreas"),
    ("increas", "reduc"),
    ("increas", "lower"),
    ("rais", "lower"),
    ("higher", "lower"),
    ("high", "low"),
    ("mor", "less"),
    ("wors", "better"),
    ("befor", "after"),
    ("over", "under"),
    ("saf", "dangerou"),
    ("saf", "unsaf"),
    ("avoid", "recommend"),
    ("start", "stop"),
    ("mild", "sever"),
    ("common", "rar"),
    ("hot", "cold"),
)


@dataclass(frozen=True, slots=True)
class Words:
    """What a piece of text says, word by word.

    Attributes:
        stems: Light stems of its content words.
        numbers: Its numbers, number words included, thousands marks removed.
        denied: The stem that follows each negation.
        negated: Stems that stand within a negation's reach.
        affirmed: Stems that stand outside of one at least once.
    """

    stems: frozenset[str]
    numbers: frozenset[str]
    denied: frozenset[str]
    negated: frozenset[str]
    affirmed: frozenset[str]


def analyse(text: str) -> Words:
    """Return the words of `text`."""
    stems: set[str] = set()
    numbers: set[str] = set()
    denied: set[str] = set()
    negated: set[str] = set()
    affirmed: set[str] = set()
    reach = 0
    for token in _TOKEN.findall(_plain(text)):
        word = token.replace("'", "")
        if token in _CLAUSE_END:
            reach = 0
        elif _NUMBER.fullmatch(token):
            numbers.add(_number(token))
        elif word in _NEGATION or token.endswith("n't"):
            reach = _REACH
        elif word in _NUMBER_WORDS:
            numbers.add(_NUMBER_WORDS[word])
        elif word not in _STOP:
            found = stem(word)
            stems.add(found)
            if reach == _REACH:
                denied.add(found)
            (negated if reach else affirmed).add(found)
            reach = max(0, reach - 1)
    return Words(
        frozenset(stems),
        frozenset(numbers),
        frozenset(denied),
        frozenset(negated),
        frozenset(affirmed),
    )


def content_stems(text: str) -> frozenset[str]:
    """Return the light stems of the content words of `text`."""
    return analyse(text).stems


def stem(word: str) -> str:
    """Return `word` without its commonest English endings, so that forms of a word meet."""
    word = word.removesuffix("'s")
    if len(word) <= 3:
        return word
    for ending, kept in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending):
            return _trim(word[: -len(ending)] + kept)
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _trim(word)


def contradicts(claim: Words, evidence: Words) -> bool:
    """Tell whether `claim` denies or affirms what `evidence` does not, or turns its direction."""
    if claim.denied - evidence.negated:
        return True
    if (claim.affirmed & evidence.negated) - evidence.affirmed - claim.negated:
        return True
    return any(
        one in claim.stems and other in evidence.stems and one not in evidence.stems
        for pair in _OPPOSITES
        for one, other in (pair, pair[::-1])
    )


def _trim(word: str) -> str:
    for ending in ("ingly", "edly", "ing", "ed", "ly", "es", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    # "dry" and "dries", "therapy" and "therapies".
    return word[:-1] + "i" if word.endswith("y") and len(word) > 2 else word


def _number(token: str) -> str:
    plain = re.sub(r",(?=\d{3}\b)", "", token)
    whole, point, part = plain.partition(".")
    part = part.rstrip("0")
    return f"{whole}{point}{part}" if part else whole


def _plain(text: str) -> str:
    return text.lower().replace("\u2019", "'").replace("-", " ").replace("\u2013", " ")
