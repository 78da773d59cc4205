"""Sentences that say nothing: talk about the task, the question again, scraps."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from medqa_tui.grounding.words import content_stems, stem

_MIN_WORDS = 3
_MIN_CONTENT = 2

# Talk about the exercise instead of its subject, as small models write it.
_META = re.compile(
    r"""
    \b(?:
      (?:the|this|your|above|following)\s+(?:\w+\s+)?questions?\b
    | (?:the|this|my|your|an?|correct)\s+answers?\s+(?:to|is|lies|for|in|can)\b
    | (?:the|this|numbered|provided|given|above)\s+(?:numbered\s+)?(?:evidence|passages?|texts?)\b
    | evidence\s+(?:is|was|provided|given|number)
    | (?:input|above|given|provided)\s+(?:text|box|context|information|sentences?)
    | box\s+provided | (?:two|three|four)\s+(?:to\s+\w+\s+)?(?:short\s+)?sentences
    | as\s+an?\s+(?:ai|assistant|language\s+model) | i\s+(?:can(?:not|'t)?|am|will|hope|have)\b
    | let\s+me\s+know | helpful\s+(?:\w+\s+)?assistant | answers?\s+health\s+questions
    | here\s+(?:is|are)\s+(?:the|a|some|two|three|four)\b | the\s+final\s+answer
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Orders to a program, as somebody may have hidden them in a text that is read as evidence.
_ORDER = re.compile(
    r"""
    \b(?:ignore|disregard|forget)\s+(?:(?:all|any|the|these|your|of)\s+){0,3}
        (?:earlier|previous|prior|above|preceding|other)\s+(?:\w+\s+)?
        (?:instructions?|prompts?|rules|text)
    | \b(?:note|message|instructions?|attention)\s+(?:to|for)\s+(?:the|this|an?|any)\s+(?:\w+\s+)?
        (?:assistant|model|ai|chatbot|program)\b
    | \byou\s+are\s+(?:now|no\s+longer)\s+(?:an?|the)\s+(?:\w+\s+){0,2}(?:assistant|model|ai|bot)\b
    | \b(?:answer|reply|respond)\s+only\s+with\b | \bsystem\s+prompt\b
    | ^\s*(?:system|assistant|user)\s*:
    | \b(?:tell|convince)\s+the\s+(?:reader|user|patient)s?\s+(?:to|that)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Words that add nothing to an echo of the question.
_FILLERS = frozenset(
    stem(word)
    for word in re.findall(
        r"\w+",
        "important common different various several include includes including following follow "
        "list lists called known condition conditions disease diseases person people patient "
        "patients symptom symptoms cause causes treatment treatments health medical describe "
        "explain information type types number thing things way ways make used use find found help",
    )
)

_STUTTER = 3
_DENIAL = re.compile(r"\b(?:no|not|never|unknown|cannot)\b|n't\b", re.IGNORECASE)


def says_nothing(sentence: str, question: str, *, copied: bool = False) -> bool:
    """Tell whether `sentence` is no statement: an order, meta talk, an echo, a scrap or a stutter.

    Args:
        sentence: Without citation marks.
        copied: It stands in the evidence word for word, so a turn of phrase is no meta talk.
    """
    text = sentence.strip()
    words = re.findall(r"[^\W_]+", text)
    if len(words) < _MIN_WORDS or text.endswith(("?", ":")) or _ORDER.search(text):
        return True
    if not copied and (_META.search(text) or _stutters(words)):
        return True
    stems = content_stems(text)
    if len(stems) < _MIN_CONTENT:
        return True
    if _DENIAL.search(text) and not _DENIAL.search(question):
        # "The cause is not known" answers "What is the cause?".
        return False
    return not (stems - content_stems(question) - _FILLERS) and not re.search(r"\d", text)


def _stutters(words: list[str]) -> bool:
    """Tell whether two words stand together three times, as where a list turns in a circle."""
    pairs = Counter(pairwise(word.lower() for word in words))
    return max(pairs.values(), default=0) >= _STUTTER
