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
        usually sometimes many one us me am get gets got able done being even still
        """,
    )
)
_NEGATION = frozenset(
    re.findall(
        r"\w+",
        """
        no not never without cannot nor neither none cant dont doesnt isnt arent wont nothing
        lack lacks unable inability nobody absence
        """,
    )
)
# Stems that deny in other words.
_FEW = frozenset(("fail", "few", "avoid", "poor", "rar", "unless", "free", "empti"))
# Words that hold both a negation and the word that it denies.
_DENYING = {
    "untreated": "treat",
    "unknown": "know",
    "unclear": "clear",
    "uncertain": "certain",
    "unlikely": "likely",
    "painless": "pain",
    "harmless": "harm",
    "incurable": "cure",
}
# Plain words and the clinical ones they stand for, and forms that light stemming keeps apart.
_SAME = {
    "children": "child", "kids": "child", "kid": "child", "childhood": "child",
    "women": "woman", "men": "man", "feet": "foot", "teeth": "tooth", "adulthood": "adult",
    "physician": "doctor", "physicians": "doctor", "provider": "doctor", "providers": "doctor",
    "ingest": "swallow", "ingested": "swallow", "ingesting": "swallow",
    "big": "large", "bigger": "larger", "biggest": "largest",
    "inherited": "inherit", "hereditary": "inherit", "inheritance": "inherit",
    "diagnosis": "diagnose", "prognosis": "outlook", "bleeding": "bleed", "bled": "bleed",
    "began": "begin", "begun": "begin", "start": "begin", "starts": "begin", "started": "begin",
    "known": "know", "seen": "see", "given": "give", "taken": "take", "took": "take",
    "found": "find", "made": "make", "grown": "grow", "growth": "grow", "grew": "grow",
    "drug": "medicine", "drugs": "medicine", "medication": "medicine", "medications": "medicine",
    "reduction": "reduce", "loss": "lose", "lost": "lose", "death": "die", "deaths": "die",
    "dies": "die", "died": "die", "dying": "die", "breathing": "breathe", "breath": "breathe",
    "illness": "disease", "illnesses": "disease", "disorder": "disease", "disorders": "disease",
    "condition": "disease", "conditions": "disease", "happens": "occur", "happen": "occur",
    "need": "require", "needs": "require", "needed": "require", "main": "major",
    "kept": "keep", "people": "person", "persons": "person",
    "individual": "person", "individuals": "person", "worsens": "worse", "worsen": "worse",
    "worsening": "worse", "belly": "abdomen", "abdominal": "abdomen", "tummy": "abdomen",
    "aid": "help", "swollen": "swell", "hurts": "pain", "hurt": "pain", "painful": "pain",
    "severity": "severe",
    "weaken": "weak", "weakness": "weak",
    "genetic": "gene", "genetics": "gene", "surgical": "surgery", "poorly": "poor",
    "genetically": "gene", "baby": "infant",
    "babies": "infant", "newborn": "infant", "newborns": "infant",
    "exam": "examination",
    "exams": "examination", "shot": "injection", "shots": "injection",
}  # fmt: skip
# A negation reaches this many content words, within its clause.
_REACH = 3
_NUMBER_WORDS = {"twice": "2"} | {
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
    ("saf", "dangerou"),
    ("saf", "unsaf"),
    ("avoid", "recommend"),
    ("mild", "sever"),
    ("common", "rar"),
    ("hot", "cold"),
    ("adult", "child"),
    ("adult", "infant"),
    ("man", "woman"),
    ("boy", "girl"),
    ("begin", "stop"),
    ("day", "night"),
    ("left", "right"),
    ("upper", "lower"),
    ("early", "late"),
    ("acut", "chronic"),
    ("gain", "los"),
    ("fast", "slow"),
    ("inhal", "oral"),
)
# "Infection" and "infected", "sleepiness" and "sleepy", "resistance" and "resistant".
_NOUN_ENDINGS = ("ation", "ion", "ment", "iness", "ness", "ality", "al", "ity", "anc", "ant")


@dataclass(frozen=True, slots=True)
class Words:
    """What a piece of text says, word by word.

    Attributes:
        stems: Light stems of its content words.
        numbers: Its numbers, number words included, thousands marks removed.
        denied: The stem that follows each negation.
        negated: Stems that stand within a negation's reach.
        affirmed: Stems that stand outside of one at least once.
        order: Stems in the order of the text, numbers among them as `#2`.
    """

    stems: frozenset[str]
    numbers: frozenset[str]
    denied: frozenset[str]
    negated: frozenset[str]
    affirmed: frozenset[str]
    order: tuple[str, ...] = ()

    def __or__(self, other: Words) -> Words:
        """Return what both texts say, this one first."""
        return Words(
            self.stems | other.stems,
            self.numbers | other.numbers,
            self.denied | other.denied,
            self.negated | other.negated,
            self.affirmed | other.affirmed,
            self.order + other.order,
        )


def analyse(text: str) -> Words:
    """Return the words of `text`."""
    numbers: list[str] = []
    denied: set[str] = set()
    negated: set[str] = set()
    affirmed: set[str] = set()
    order: list[str] = []
    reach = 0
    for token in tokens(text):
        word = token.replace("'", "")
        if token in _CLAUSE_END:
            reach = 0
            continue
        number = _NUMBER_WORDS.get(word) or (_number(token) if token[0].isdigit() else None)
        if number is not None:
            numbers.append(number)
            order.append(f"#{number}")
            continue
        if word in _NEGATION or token.endswith("n't"):
            reach = _REACH
            continue
        if word in _DENYING:
            # "Unknown" denies itself alone, not what follows.
            found = stem(_DENYING[word])
            order.append(found)
            denied.add(found)
            negated.add(found)
            reach = 0
            continue
        if word in _STOP:
            continue
        found = stem(word)
        order.append(found)
        if reach == _REACH:
            denied.add(found)
        (negated if reach else affirmed).add(found)
        reach = max(0, reach - 1)
    return Words(
        frozenset(negated | affirmed),
        frozenset(numbers),
        frozenset(denied),
        frozenset(negated),
        frozenset(affirmed),
        tuple(order),
    )


def tokens(text: str) -> list[str]:
    """Return the lower-case words, numbers and clause marks of `text`; hyphens part words."""
    return _TOKEN.findall(_plain(text))


def content_stems(text: str) -> frozenset[str]:
    """Return the light stems of the content words of `text`."""
    return analyse(text).stems


def stem(word: str) -> str:
    """Return `word` without its commonest English endings, so that forms of a word meet."""
    word = word.removesuffix("'s")
    word = _SAME.get(word, word)
    if len(word) <= 3:
        return word
    for ending, kept in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending):
            return _trim(word[: -len(ending)] + kept)
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _trim(word)


def contradicts(claim: Words, evidence: Words, whole: Words | None = None) -> bool:
    """Tell whether `claim` denies or affirms what `evidence` does not, or turns its direction.

    Args:
        whole: All of the text that `evidence` is from, where it may deny in other words.
    """
    if claim.denied & evidence.affirmed - evidence.negated:
        return True
    # "Does not hurt" may be "painless", but not without any negation.
    around = whole or evidence
    if claim.denied - evidence.negated and not around.negated and not _FEW & around.stems:
        return True
    if not claim.negated and not _FEW & claim.stems:
        turned = (claim.affirmed & evidence.negated) - evidence.affirmed
        if turned & evidence.denied or len(turned) > 1:
            return True
    return any(
        _turned(claim, evidence, one, other)
        for pair in _OPPOSITES
        for one, other in (pair, pair[::-1])
        if one in claim.stems and other in evidence.stems
    )


def _turned(claim: Words, evidence: Words, one: str, other: str) -> bool:
    """Tell whether `claim` says `one` of what `evidence` says its opposite, `other`, of."""
    if one not in evidence.stems:
        # "Not after" and "before" are no opposites.
        return other not in claim.stems
    said = _governed(claim, one, other)
    return bool(said & (_governed(evidence, other, one) - _governed(evidence, one, other)))


def _governed(words: Words, one: str, other: str) -> frozenset[str]:
    """Return the stems after `one` and before `other`: what is raised, what adults do."""
    found: set[str] = set()
    reached = False
    for name in words.order:
        if name in (one, other):
            reached = name == one
        elif reached:
            found.add(name)
    return frozenset(found)


def _trim(word: str) -> str:
    for ending in ("ingly", "edly", "ing", "ed", "ly", "es", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    for ending in _NOUN_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 5:
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
