"""A follow-up question made to stand alone, by rules: "How is it treated?" needs its topic."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medqa_tui.domain import Turn
from medqa_tui.retrieval import terms
from medqa_tui.retrieval.focus import focus

MAX_TOPIC_WORDS = 8

_THING = r"(?:condition|disease|disorder|illness|infection|problem|medicine|medication|drug|test)"
_ANAPHOR = re.compile(
    rf"\b(?:(?:this|that|the same|such an?|these|those) {_THING}s?|it(?!['\u2019])|its|they|them|"
    r"their|this|these|those|that)\b",
    re.IGNORECASE,
)
# "it" that stands for nothing: "is it safe to ...", "how long does it take", "does it mean".
_EXPLETIVE = re.compile(
    r"\b(?:(?:is|was|would|could|can|will) it (?:be )?(?:\w+ )?"
    r"(?:safe|ok|okay|normal|possible|bad|good|better|dangerous|necessary|harmful|true|common|"
    r"important|healthy|time)\b(?= (?:to|for|that|if)\b)"
    r"|(?:does|will|would|did) it (?:take|mean)\b(?= (?:to|for|that|if|when)\b)"
    r"|it (?:is|was|hurts?) (?:\w+ )?(?=(?:to|when|that|if)\b))",
    re.IGNORECASE,
)
# "this" before a noun that is no stand-in.
_POINTER = re.compile(
    r"\b(?:this|these|those|that) (?:morning|evening|afternoon|week|month|year|time|season)s?\b",
    re.IGNORECASE,
)
# After any other word, "that" joins two clauses: "signs that I need help".
_BEFORE_THAT_WORDS = """
about after am are avoid before by can cause causes control could cure diagnose did do does fix
for from get got handle have is like of on prevent should stop take to treat was will with would
"""
_BEFORE_THAT = frozenset(_BEFORE_THAT_WORDS.split())
_SMALL_TALK = frozenset(
    {"bye", "good", "great", "hello", "hi", "nice", "no", "ok", "okay", "please"}
    | {"thank", "thanks", "well", "yes", "you"}
)
_LEAD = re.compile(
    r"^\s*(?:and|but|so|ok(?:ay)?|then|also|thanks|well)\b[\s,.]*(?=\S)", re.IGNORECASE
)
_WHAT_ABOUT = re.compile(
    r"^\s*(?:(?:and|but|so)\s+)?(?:what|how) about\b"
    r"|^\s*(?:and|or)\s+(?:for|in|if|during|with)\b",
    re.IGNORECASE,
)
_BARE_WHY = re.compile(
    r"^\s*(?:(?:but|and|so)\s+)?(?:why(?:\s+(?:is|not))?(?:\s+that)?|how come|how so|"
    r"(?:tell me |explain )?more|go on|really|explain)\s*[?.!]*\s*$",
    re.IGNORECASE,
)
# What parts a question into clauses: a word that names its own topic stands before one of these.
_CLAUSE = re.compile(r"[,;:.!?]|\b(?:and|but|if|when|because|so|while|or)\b", re.IGNORECASE)
# Whom a question is about, and what anyone may ask about any topic: no topic by themselves.
_PEOPLE_WORDS = """
adult adults babies baby boy boys breastfeeding child childhood children daughter elderly father
girl girls husband infant infants kid kids man men mother older parents pregnancy pregnant senior
seniors son teenager teenagers teens toddler toddlers wife woman women young younger
"""
_PEOPLE = frozenset(_PEOPLE_WORDS.split())
_WEAK_WORDS = """
age cost curable deadly diet drink eat exercise fatal food foods genetic hereditary hospital
preventable rare remission specialist surgery treatable
"""
_WEAK = _PEOPLE | frozenset(_WEAK_WORDS.split())


def rewrite(question: str, context: Sequence[Turn]) -> str:
    """Return `question` as a query that stands alone, or unchanged if it already does.

    A long message becomes what it asks; it brings its own topic.

    Args:
        context: The conversation so far, oldest first; only its questions are read.
    """
    asked = focus(question)
    if asked != question:
        return asked
    topic, previous = "", ""
    for turn in context:
        earlier = focus(turn.question)
        resolved = _resolve(earlier, topic, previous)
        topic = _next_topic(earlier, resolved, topic)
        previous = resolved
    return _resolve(question, topic, previous)


def _resolve(question: str, topic: str, previous: str) -> str:
    said = set(terms.words(question))
    if not topic or said <= _SMALL_TALK:
        return question
    if _BARE_WHY.match(question):
        return previous
    own = _own_topic(question)
    if _WHAT_ABOUT.match(question):
        # What was asked of the old topic is asked of the new one, or of the old one for others.
        aspects = " ".join(_aspects(previous))
        if own and all(len(word) == 1 for word in own):
            # "What about type 1?": a number or letter of the same kind of thing.
            return _append(question, _both(aspects, _without_number(topic)))
        names_new = any(word not in _WEAK for word in own)
        return _append(question, aspects if names_new and aspects else _both(aspects, topic))
    anaphor = _anaphor(question)
    if anaphor is not None:
        if _named_before(question, anaphor.start()):
            return question
        return _substitute(question, anaphor, topic)
    if all(word in _WEAK for word in own):
        return _append(question, topic)
    return question


def _next_topic(question: str, resolved: str, topic: str) -> str:
    """Return what the conversation is about after `question`."""
    own = [word for word in _own_topic(question) if word not in _WEAK]
    if resolved == question:
        return _phrase(question) if own and own[0] not in _SMALL_TALK else topic
    if own and _WHAT_ABOUT.match(question):
        numbered = all(len(word) == 1 for word in own)
        return _phrase(question) + (f" {_without_number(topic)}" if numbered else "")
    return topic


def _own_topic(question: str) -> list[str]:
    return terms.topic_words(_LEAD.sub("", question))


def _phrase(question: str) -> str:
    """Return the topic of a question in its own words and order, "type 2" and the like kept."""
    kept: list[str] = []
    written = terms.surfaces(question)
    found = [terms.normal(word) for word in written]
    last = -1
    for place, word in enumerate(found):
        following = found[place + 1] if place + 1 < len(found) else ""
        numbered = word == "type" and len(following) == 1
        named = word in {"disease", "disorder", "test"} and last == place - 1 >= 0
        plain = not terms.is_stopword(word) and word not in terms.ASPECTS and word not in _PEOPLE
        if (plain or numbered or named) and written[place] not in kept:
            kept.append(written[place])
            last = place
    return " ".join(kept[:MAX_TOPIC_WORDS])


def _without_number(topic: str) -> str:
    return " ".join(word for word in topic.split() if len(word) > 1 and word.lower() != "type")


def _aspects(question: str) -> list[str]:
    """Return the words of a question that ask for something, such as "symptoms"."""
    topic = set(terms.words(_phrase(question)))
    return [
        word
        for word in terms.words(question)
        if word in terms.ASPECTS and word not in topic and not terms.is_stopword(word)
    ]


def _anaphor(question: str) -> re.Match[str] | None:
    # Blanked, so that places in the question stay what they are.
    hidden = question
    for pattern in (_EXPLETIVE, _POINTER):
        hidden = pattern.sub(lambda match: " " * len(match.group()), hidden)
    for match in _ANAPHOR.finditer(hidden):
        before = terms.words(hidden[: match.start()])[-1:]
        if match.group().lower() != "that" or not before or before[0] in _BEFORE_THAT:
            return match
    return None


def _named_before(question: str, place: int) -> bool:
    """Return whether an earlier clause of the same question says what a pronoun stands for."""
    clauses = _CLAUSE.split(question[:place])
    return any(word not in _WEAK for clause in clauses[:-1] for word in terms.topic_words(clause))


def _substitute(question: str, anaphor: re.Match[str], topic: str) -> str:
    return question[: anaphor.start()] + topic + question[anaphor.end() :]


def _append(question: str, what: str) -> str:
    stem = question.strip().rstrip("?.! ")
    mark = question.strip()[len(stem) :].strip()
    return f"{stem} ({what}){mark}" if what else question


def _both(aspects: str, topic: str) -> str:
    return f"{topic} {aspects}".strip()
