"""Whether one sentence of a passage says what a claim says of the same subject, without blending.

A bag of words cannot tell "A relaxes, B prevents" from "A prevents". Here a claim is laid on one
clause of the passage, its carrier, and other clauses may add to it only if they speak of the same
subject. Words that stand only beside another subject count against the claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medqa_tui.grounding.words import Words, analyse, content_stems, contradicts, stem, tokens

# The most that a claim scores which a carrier does not say outright.
CEILING = 0.79
# A missing word with so long a stem may be a made-up fact.
_ODD_WORD = 5
# So large a share of the predicate's words may not stand beside another subject only.
_STRAY_SHARE = 0.25
# Clauses before this distance may join with the carrier.
_REACH = 2

_JOINT = re.compile(
    r"(?:;|,\s+while\b|,?\s+\b(?:whereas|but|although|though|unlike|and)\b)\s+", re.IGNORECASE
)
_ANAPHOR = re.compile(
    r"(?:it|its|they|their|them|this|these|that|those|such|he|she|his|her|others|both|"
    r"also|(?:in|with|for|to|of|from|by|during|after|before) (?:it|this|these|them|such)|"
    r"the (?:condition|disease|disorder|illness|infection|medicine|drug|test|procedure|cause|"
    r"symptom|sign|treatment|virus|gene|same|latter|former)s?(?! of| for| in))\b",
    re.I,
)
_DETERMINERS = frozenset(("the", "a", "an", "of", "this", "no", "any", "your", "more"))
_LEAD = frozenset(
    re.findall(
        r"\w+",
        "if whether when while although because since unless as after before during until in for "
        "with without to at on by from among for even besides unlike usually often sometimes",
    )
)
_VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        is are was were be been can may might must will would should could do does did has have
        had cannot isnt arent dont doesnt cant cause causes include includes affect affects raise
        raises lower lowers reduce reduces increase increases decrease decreases prevent prevents
        protect protects help helps make makes mean means occur occurs happen happens lead leads
        require requires depend depends begin begins start starts become becomes get gets give
        gives take takes go goes come comes show shows find finds keep keeps let lets run runs
        produce produces contain contains involve involves develop develops relax relaxes treat
        treats use uses allow allows block blocks kill kills spread spreads grow grows carry
        carries feel feels look looks seem seems appear appears tend tends work works stop stops
        trigger triggers worsen worsens improve improves control controls need needs drink eat
        rinse call calls ask avoid wash remain remains live lives relieve relieves ease eases
        destroy destroys attack attacks differ differs vary varies ran say says tell tells see
        want wants check checks cry talk support supports learn diagnose diagnoses
        recommend recommends prescribe prescribes
        """,
    )
)
_GENERIC = frozenset(
    stem(word)
    for word in re.findall(
        r"\w+",
        """
        people person patient patients doctor doctors disease condition disorder symptom
        symptoms sign signs treatment treatments cause causes risk factor factors problem
        problems type types form forms kind kinds common main several health care case cases
        certain way ways number most more some other few each exact first best chief usual
        effects effect part family member members history early later time test tests
        researchers scientists medical side goal goals aim purpose outlook chance chances rate
        feature features well work help through under see regular feel good use used using find
        include including new show become bring come follow following possible sever result
        change changes like need evidence older single one theory item movement option further
        all someone nobody primary yes only role play consist consists instead however
        furthermore throughout affected mean means another recent normally compared moreover
        additional addition prevalence incidence frequency primarily develop know thing things
        age call called make have happen
        """,
    )
)
# Claims of certainty, and what softens one.
_SURE = frozenset(
    re.findall(r"\w+", "always all every only must certainly definitely completely entirely never")
)
_HEDGE = re.compile(
    r"\b(?:may|might|can|could|some|sometimes|often|possibl[ey]|usually|likely|many|most|"
    r"suspected|thought|believed?|appears?|seems?|suggests?|generally|typically|probably|about|"
    r"commonly|tends?|usual|risk|chance)\b",
    re.I,
)

# Verbs that tell who does it from whom it befalls, unless one of these words turns them round.
_DIRECTED = frozenset(
    stem(word)
    for word in re.findall(
        r"\w+",
        "cause raise lower reduce increase decrease prevent treat lead trigger replace affect "
        "block produce damage protect relieve kill destroy attack control carry spread",
    )
)
_BACKWARD = re.compile(r"\b(?:by|from|due to|because|result of|with|using|through)\b", re.I)
_DONE_BY = re.compile(r"\b(\w+) by\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause with its words and those that name what it speaks of.

    Attributes:
        leans: It names its subject by a pronoun, or not at all.
        kinds: Numbers in its subject, as in "type 2".
    """

    text: str
    words: Words
    subject: frozenset[str]
    leans: bool
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fit:
    """How far a passage carries a claim, and the most that anything may make of it."""

    score: float
    ceiling: float = 1.0


def clauses(sentences: Sequence[str]) -> tuple[Clause, ...]:
    """Return the clauses of `sentences`, parted where a contrast begins."""
    found: list[Clause] = []
    for part in (part for sentence in sentences for part in _parts(sentence)):
        clause = read_clause(part)
        if clause.leans and found:
            # "They" are what the clause before spoke of.
            before = found[-1]
            clause = replace(
                clause, subject=clause.subject | before.subject, kinds=clause.kinds or before.kinds
            )
        found.append(clause)
    return tuple(found)


def read_clause(text: str) -> Clause:
    """Return `text` as one clause."""
    names, verb = _subject(text)
    if not verb and text[-1:] not in ".!?":
        # Lists and headings speak of what stands before them.
        names = ()
    stems = frozenset(name for name in names if name[0] != "#")
    leans = _ANAPHOR.match(text) is not None or not names
    return Clause(text, analyse(text), stems, leans, frozenset(names) - stems)


def fit(
    claim: Sequence[Clause], passage: Sequence[Clause], topic: frozenset[str], whole: Words
) -> Fit:
    """Return how far `passage` bears a claim, each clause of it by its best carrier.

    Args:
        topic: Stems of the passage's title and question, its subject everywhere.
        whole: The words of all of the passage.
    """
    fits = [_best(part, passage, topic, whole) for part in claim]
    if len(claim) > 1 and not all(item.score for item in fits):
        # The clauses may be one after all: "dust and smoke that ...".
        joined = read_clause(" ".join(part.text for part in claim))
        return replace(_best(joined, passage, topic, whole), ceiling=CEILING)
    lengths = [max(1, len(part.words.stems)) for part in claim]
    score = sum(n * item.score for n, item in zip(lengths, fits, strict=True)) / sum(lengths)
    return Fit(score, min(item.ceiling for item in fits))


def _best(claim: Clause, passage: Sequence[Clause], topic: frozenset[str], whole: Words) -> Fit:
    fits = [_carried(claim, at, passage, topic, whole) for at in range(len(passage))]
    return max(fits, key=lambda item: (item.score, item.ceiling), default=Fit(0.0))


def _carried(
    claim: Clause, at: int, passage: Sequence[Clause], topic: frozenset[str], whole: Words
) -> Fit:
    carrier, wanted = passage[at], claim.words.stems
    if not wanted & carrier.words.stems:
        return Fit(0.0)
    if claim.kinds and not claim.kinds & carrier.kinds and any(c.kinds for c in passage):
        return Fit(0.0)
    basis = carrier.words
    if carrier.leans and at > 0:
        basis = basis | passage[at - 1].words
    known = topic | _GENERIC
    ceiling = _subject_ceiling(claim, carrier, basis, topic, whole)
    joined = _joined(claim, at, passage, known, basis)
    if ceiling == 0.0 or _reversed(claim, carrier) or contradicts(claim.words, joined, whole):
        return Fit(0.0)
    if not _numbers_stand(claim.words, joined, topic):
        return Fit(0.0)
    predicate = wanted - claim.subject
    missing = wanted - joined.stems - topic
    strays = missing & whole.stems
    if predicate - known:
        strays -= _GENERIC
    if strays and len(strays) >= _STRAY_SHARE * len(predicate):
        return Fit(0.0)
    borrowed = (wanted & joined.stems) - carrier.words.stems - known
    doubtful = (
        bool(claim.words.denied - basis.negated)
        or (claim.words.affirmed & basis.negated) - basis.affirmed - claim.words.negated
    )
    odd = any(len(word) >= _ODD_WORD for word in missing)
    if strays or borrowed or doubtful or odd or _bolder(claim, carrier):
        ceiling = CEILING
    return Fit(1.0 - len(missing) / len(wanted), ceiling)


def _subject_ceiling(
    claim: Clause, carrier: Clause, basis: Words, topic: frozenset[str], whole: Words
) -> float:
    """Return the most that a claim scores with such a subject on this carrier; 0 for a blend."""
    known = topic | _GENERIC
    specific = claim.subject - known
    beside = specific - basis.stems
    own = carrier.subject - known
    rivals = own - claim.words.stems
    if beside:
        here, elsewhere = specific & basis.stems, beside & whole.stems
        if rivals and (elsewhere or not here):
            return 0.0
        # Said of the passage's own subject, and now of another: of one medicine, say, for another.
        swapped = carrier.subject & topic and (elsewhere or not claim.subject & topic)
        if not here and (own or swapped):
            return 0.0
        return CEILING
    # The title may stand for what the passage says of a part of it, but not outright.
    return CEILING if rivals and claim.subject and not claim.subject & carrier.subject else 1.0


def _joined(
    claim: Clause, at: int, passage: Sequence[Clause], known: frozenset[str], basis: Words
) -> Words:
    """Return the carrier's words with those of the clauses that speak of the same subject."""
    wanted = claim.words.stems
    joined = basis
    for near, clause in enumerate(passage):
        gained = (wanted & clause.words.stems) - joined.stems - known
        if near == at or not gained:
            continue
        own = clause.subject - known
        named = not claim.subject - known or bool((claim.subject - known) & clause.words.stems)
        akin = bool(own & claim.subject) or ((not own or own <= wanted) and (named or clause.leans))
        if claim.kinds and clause.kinds and not claim.kinds & clause.kinds:
            akin = False
        if not akin or (clause.leans and abs(near - at) > _REACH):
            continue
        joined = joined | clause.words
    return joined


def _subject(text: str) -> tuple[tuple[str, ...], bool]:
    """Return the stems that name what a clause speaks of, and whether its verb was found."""
    words = tokens(text)
    start = 0
    if words and words[0] in _LEAD and "," in words[:16]:
        start = words.index(",") + 1
    names: list[str] = []
    for at in range(start, len(words)):
        word = words[at]
        after = words[at + 1] if at + 1 < len(words) else ""
        before = words[at - 1] if at > start else ""
        noun = before in _DETERMINERS or (at == start and after == "of")
        if word.replace("'", "") in _VERBS and not noun:
            return tuple(names), True
        if word in {",", "(", ":"} and names:
            # What follows is an apposition, a list or the like.
            if after not in {"and", "or"} and not _list_goes_on(words[at + 1 :]):
                return tuple(names), False
            continue
        names.extend(analyse(word).order)
    return tuple(names[:2]), False


def _list_goes_on(words: Sequence[str]) -> bool:
    """Tell whether a verb comes only after an "and", as in "dust, mold and pollen trigger"."""
    for word in words:
        if word in {"and", "or"}:
            return True
        if word in _VERBS or word in {";", "."}:
            return False
    return False


def _parts(sentence: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for mark in _JOINT.finditer(sentence):
        before, after = sentence[start : mark.start()], sentence[mark.end() :]
        names, verb = _subject(after)
        if not _has_verb(before) or not (verb and names and _verb_near(after)):
            # "A is x and y", "dust, while cleaning": the same subject goes on.
            continue
        parts.append(before)
        start = mark.end()
    return [*parts, sentence[start:]]


def _has_verb(text: str) -> bool:
    return any(word in _VERBS for word in tokens(text))


def _verb_near(text: str) -> bool:
    return any(word in _VERBS for word in tokens(text)[:6])


def _numbers_stand(claim: Words, evidence: Words, topic: frozenset[str]) -> bool:
    """Tell whether each number of the claim stands in the evidence, beside a word it shares."""
    for number in claim.numbers:
        if number not in evidence.numbers:
            return False
        near = _beside(claim, number, 1) & evidence.stems
        if near and not near & (_beside(evidence, number, 3) | topic):
            return False
    return True


def _beside(words: Words, number: str, reach: int) -> frozenset[str]:
    order = words.order
    return frozenset(
        near
        for at, name in enumerate(order)
        if name == f"#{number}"
        for near in (*order[max(0, at - reach) : at], *order[at + 1 : at + 1 + reach])
    )


def _reversed(claim: Clause, carrier: Clause) -> bool:
    """Tell whether the claim's subject and object stand the other way round in the carrier."""
    if _compared_backward(claim.text, carrier.text):
        return True
    mine, theirs = claim.subject - _GENERIC, carrier.subject - _GENERIC
    if not mine or not _DIRECTED & claim.words.stems & carrier.words.stems:
        return False
    if _BACKWARD.search(claim.text):
        return False
    object_ = claim.words.stems - claim.subject - _GENERIC
    marker = _DONE_BY.search(carrier.text)
    if marker is not None and stem(marker[1].lower()) in _DIRECTED:
        doer = content_stems(carrier.text[marker.end() :]) - _GENERIC
        # "A is caused by b" is no ground for "A causes b".
        return bool(object_ & doer) and not mine & doer and bool(mine & theirs)
    if _BACKWARD.search(carrier.text):
        return False
    return (
        bool(theirs)
        and not mine & theirs
        and theirs <= object_
        and bool(mine & carrier.words.stems)
    )


def _compared_backward(claim: str, carrier: str) -> bool:
    """Tell whether what stands before "than" in the claim stands after it in the carrier."""
    left, than, right = claim.lower().partition(" than ")
    other_left, other_than, other_right = carrier.lower().partition(" than ")
    if not than or not other_than:
        return False
    one, other = content_stems(left), content_stems(right)
    theirs, others = content_stems(other_left), content_stems(other_right)
    return bool((one - other) & (others - theirs) and (other - one) & (theirs - others))


def _bolder(claim: Clause, carrier: Clause) -> bool:
    """Tell whether the claim is surer than its carrier, or wider by a dropped qualifier."""
    sure = _SURE & set(tokens(claim.text)) - set(tokens(carrier.text))
    if sure or (_HEDGE.search(carrier.text) and not _HEDGE.search(claim.text)):
        return True
    return any(_narrowed(name, claim.words, carrier.words) for name in claim.subject - _GENERIC)


def _narrowed(name: str, claim: Words, carrier: Words) -> bool:
    """Tell whether `name` always follows a qualifier in the carrier that the claim lacks."""
    before = {
        carrier.order[at - 1] if at else "" for at, s in enumerate(carrier.order) if s == name
    }
    return bool(before) and not any(w == "" or w in claim.order or w in _GENERIC for w in before)
