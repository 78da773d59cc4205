"""Red-flag rules: what in the user's words sounds like an emergency happening now.

The rules are data (`rules.toml`), written to be read by a clinician; this module loads and applies
them. Standard library only, because it runs before anything heavy is loaded. The time is linear in
the length of the text: phrases are matched over word positions, never by a backtracking regex.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from medqa_tui.domain import Triage, TriageLevel
from medqa_tui.safety.phrases import Lexicon, Phrase, Spans, Words, read_words

_SEVERITY = (TriageLevel.CRISIS, TriageLevel.EMERGENCY, TriageLevel.URGENT)
# How far, in words, a hypothetical or a negation reaches.
_HYPOTHETICAL_REACH = 8
_NEGATION_REACH = 4
_NEGATION_LIST_REACH = 10
_PRESENT_REACH = 2
_ABOUT_REACH = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """One red flag.

    Attributes:
        any: It fires if one of these does: groups of phrases that must all be found.
        unless: It does not fire if one of these phrases is found.
        ignore: Contexts that do not silence it (`about`, `past`, `negation`, `hypothetical`).
        personal: Whether the text must speak of a person (I, my, he, she).
    """

    id: str
    level: TriageLevel
    any: tuple[tuple[tuple[Phrase, ...], ...], ...]
    unless: tuple[Phrase, ...]
    advice: str
    educate: bool
    ignore: frozenset[str]
    personal: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """All of `rules.toml`: the red flags, and the words that tell a report from a question."""

    rules: tuple[Rule, ...]
    lexicon: Lexicon
    frames: dict[str, tuple[Phrase, ...]]


def check(text: str) -> Triage:
    """Return the red flags in `text`: the highest level, the rules that fired, and the advice.

    A question *about* an emergency, a negated sign, a distant past and a hypothetical do not
    fire; a sign told of a person in the present does, also in telegraphic style.
    """
    return scan(text)[0]


def scan(text: str) -> tuple[Triage, int]:
    """Return what `check` returns, and how many word comparisons it took."""
    rules = load_rules()
    words = read_words(text, rules.lexicon)
    if not words.texts:
        return Triage(), words.steps
    context = _Context(words, rules.frames)
    fired = [rule for rule in rules.rules if _fires(rule, words, context)]
    return _summarise(fired), words.steps


@cache
def load_rules() -> Rules:
    """Read and compile `rules.toml`, once.

    Raises:
        ValueError: A rule is not well formed.
    """
    raw = tomllib.loads(files("medqa_tui.safety").joinpath("rules.toml").read_text("utf-8"))
    lexicon = Lexicon(raw["words"], raw["phrases"], raw["same"], raw["typos"])
    rules = tuple(_rule(entry, raw["advice"], lexicon) for entry in raw["rule"])
    frames = {
        name: tuple(lexicon.phrase(text) for text in texts) for name, texts in raw["frames"].items()
    }
    return Rules(rules, lexicon, frames)


def _rule(entry: dict[str, Any], advice: dict[str, str], lexicon: Lexicon) -> Rule:
    known = {"id", "level", "any", "unless", "advice", "educate", "ignore", "personal"}
    if unknown := set(entry) - known:
        raise ValueError(f"rule {entry.get('id')}: unknown keys {sorted(unknown)}")
    level = TriageLevel(entry["level"])
    return Rule(
        id=entry["id"],
        level=level,
        any=tuple(
            tuple(lexicon.group(term.strip()) for term in terms.split(" + "))
            for terms in entry["any"]
        ),
        unless=tuple(phrase for text in entry.get("unless", ()) for phrase in lexicon.group(text)),
        advice=advice[entry["advice"]],
        educate=entry["educate"],
        ignore=frozenset(entry.get("ignore", ())),
        personal=entry.get("personal", False),
    )


def _fires(rule: Rule, words: Words, context: _Context) -> bool:
    if rule.personal and not context.speaks_of_a_person:
        return False
    if any(phrase.spans(words) for phrase in rule.unless):
        return False
    return any(
        all(
            any(context.is_live(phrase.spans(words), rule.ignore) for phrase in group)
            for group in groups
        )
        for groups in rule.any
    )


def _summarise(fired: list[Rule]) -> Triage:
    if not fired:
        return Triage()
    ordered = [rule for level in _SEVERITY for rule in fired if rule.level is level]
    top = ordered[0].level
    # One advice of each level that sends for help at once; the file's order is the priority.
    spoken = (
        (TriageLevel.CRISIS, TriageLevel.EMERGENCY) if top is not TriageLevel.URGENT else (top,)
    )
    advice: list[str] = []
    for level in spoken:
        of_level = [rule.advice for rule in ordered if rule.level is level]
        if of_level and of_level[0] not in advice:
            advice.append(of_level[0])
    return Triage(
        level=top,
        rules=tuple(rule.id for rule in ordered),
        advice="\n\n".join(advice),
        educate=all(rule.educate for rule in ordered),
    )


class _Context:
    """Tells a sign that is reported from one that is asked about, denied, past or imagined."""

    def __init__(self, words: Words, frames: dict[str, tuple[Phrase, ...]]) -> None:
        self._words = words
        self._frames = frames
        self._personal = self._marks("personal")
        self._first_person = self._marks("first_person")
        self._negators = self._marks("negators")
        self._not_negation = self._marks("not_negation")
        self._negation_stops = self._marks("negation_stops")
        self._list_or = self._marks("list_or")
        self._present = self._marks("present")
        self._past_verbs = self._marks("past_verbs")
        self._now = self._marks("now")
        self._after = self._marks("about_after")
        self.speaks_of_a_person = any(self._personal)
        self._hypothetical_ends = self._last_ends("hypothetical")
        self._prior_ends = self._last_ends("prior")
        # Three levels: a sentence, a part between commas, a clause (also cut at and/but).
        self._personal_clause = self._per(words.clauses, self._personal)
        self._now_part = self._per(words.parts, self._now)
        self._past_part = self._per(words.parts, self._marks("past"))
        self._past_sentence = self._per(words.sentences, self._marks("past"))
        self._imagined = self._per(words.sentences, self._marks("imagined"))
        self._past_verb_part = self._per(words.parts, self._past_verbs)
        self._fiction_ends = self._last_ends("fiction")
        self._about_clause = self._about()

    def is_live(self, spans: Spans, ignore: frozenset[str]) -> bool:
        """Return whether one of the spans is a sign reported of now."""
        return any(self._is_reported(matched, ignore) for matched in spans.values())

    def _is_reported(self, matched: tuple[int, ...], ignore: frozenset[str]) -> bool:
        start, end = matched[0], matched[-1]
        if "negation" not in ignore and self._is_negated(matched):
            return False
        if "past" not in ignore and self._is_past(start, end):
            return False
        if "hypothetical" not in ignore and self._is_hypothetical(matched):
            return False
        return "about" in ignore or not self._is_about(start, end)

    def _marks(self, frame: str) -> list[bool]:
        """Return, for each word, whether a phrase of `frame` covers it."""
        marks = [False] * len(self._words.texts)
        for phrase in self._frames[frame]:
            for end, matched in phrase.spans(self._words).items():
                marks[matched[0] : end + 1] = [True] * (end + 1 - matched[0])
        return marks

    def _last_ends(self, frame: str) -> list[int]:
        """Return, for each word, the last word of the nearest phrase of `frame` begun before it."""
        begun: dict[int, int] = {}
        for phrase in self._frames[frame]:
            for end, matched in phrase.spans(self._words).items():
                begun[matched[0]] = max(begun.get(matched[0], -1), end)
        last, ends = -1, []
        for position in range(len(self._words.texts)):
            ends.append(last)
            last = begun.get(position, last)
        return ends

    @staticmethod
    def _per(units: list[int], marks: list[bool]) -> set[int]:
        return {unit for unit, mark in zip(units, marks, strict=True) if mark}

    def _about(self) -> set[int]:
        """Return the clauses that ask about a thing: those opened by an asking word or phrase.

        What follows in the same sentence and line is part of the question, until somebody is named.
        """
        starts = self._marks("about_starts")
        telegraphic = self._marks("telegraphic")
        anywhere = self._per(self._words.clauses, self._marks("about"))
        about: set[int] = set()
        carried = (-1, -1)
        for position, clause in enumerate(self._words.clauses):
            here = (self._words.sentences[position], self._words.lines[position])
            if position and self._words.clauses[position - 1] == clause:
                continue
            opens = starts[position] and not telegraphic[position]
            if opens or clause in anywhere or carried == here:
                if clause in self._personal_clause:
                    carried = (-1, -1)
                else:
                    about.add(clause)
                    carried = here
        return about

    def _is_about(self, start: int, end: int) -> bool:
        words = self._words
        clause = words.clauses[start]
        told = self._fiction_ends[start]
        if (
            told >= 0
            and words.sentences[told] == words.sentences[start]
            and not any(self._first_person[i] for i in range(told + 1, end + 1))
        ):
            return True
        if clause in self._about_clause:
            return True
        if clause in self._personal_clause:
            return False
        after = range(end + 1, min(end + 1 + _ABOUT_REACH, len(words.texts)))
        return any(self._after[i] and words.clauses[i] == words.clauses[end] for i in after)

    def _is_negated(self, matched: tuple[int, ...]) -> bool:
        between = set(range(matched[0], matched[-1])).difference(matched)
        if any(self._negators[i] and not self._not_negation[i] for i in between):
            return True
        words, start = self._words, matched[0]
        crossed_or = False
        for distance, position in enumerate(self._back(start), 1):
            if words.parts[position] != words.parts[start] and not crossed_or:
                return False
            if distance > (_NEGATION_LIST_REACH if crossed_or else _NEGATION_REACH):
                return False
            if self._negators[position] and not self._not_negation[position]:
                # "No, my chest..." answers something; "no chest pain" denies it.
                return not words.comma_after[position]
            if self._negation_stops[position]:
                return False
            crossed_or = crossed_or or self._list_or[position]
        return False

    def _back(self, start: int) -> Iterator[int]:
        words = self._words
        for position in range(start - 1, -1, -1):
            if words.sentences[position] != words.sentences[start]:
                return
            words.steps += 1
            yield position

    def _is_past(self, start: int, end: int) -> bool:
        words = self._words
        part = words.parts[start]
        if words.sentences[start] not in self._past_sentence or part in self._now_part:
            return False
        first = max(0, start - _PRESENT_REACH)
        if any(self._present[i] and words.parts[i] == part for i in range(first, end + 1)):
            return False
        return part in self._past_part or part in self._past_verb_part

    def _is_hypothetical(self, matched: tuple[int, ...]) -> bool:
        words, start, end = self._words, matched[0], matched[-1]
        sentence = words.sentences[start]
        if sentence in self._imagined:
            return True
        said = self._hypothetical_ends[end]
        if said >= 0 and words.sentences[said] == sentence and start - said <= _HYPOTHETICAL_REACH:
            return True
        # "Afraid of a heart attack": the words right before a word of the sign take it back.
        return any(
            0 <= i - 1 <= self._prior_ends[i] and words.sentences[self._prior_ends[i]] == sentence
            for i in matched
        )
