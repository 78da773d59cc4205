"""The red-flag rules against what people type, and the promise that their cost is linear."""

import gzip
import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medqa_tui.domain import TriageLevel
from medqa_tui.safety.phrases import Lexicon, read_words
from medqa_tui.safety.triage import check, load_rules, scan

CASES = tomllib.loads((Path(__file__).parents[1] / "data" / "triage_cases.toml").read_text("utf-8"))
LONG = 8_000
STEPS_PER_WORD = 3_000


@pytest.mark.parametrize("case", CASES["fires"], ids=lambda case: case["text"])
def test_a_red_flag_told_of_now_fires(case: dict[str, str]) -> None:
    found = check(case["text"])
    assert case["rule"] in found.rules
    assert found.level.value == case["level"]
    assert found.advice


@pytest.mark.parametrize("text", CASES["quiet"]["texts"])
def test_a_question_a_denial_or_the_past_is_no_emergency(text: str) -> None:
    found = check(text)
    assert (found.level, found.rules, found.advice) == (TriageLevel.NONE, (), "")
    assert found.educate


def test_every_rule_has_a_case_that_fires_it() -> None:
    tried = {case["rule"] for case in CASES["fires"]}
    assert tried == {rule.id for rule in load_rules().rules} - {
        # Second wordings of a rule that is tried; they fire together with it.
        "testicle-sudden",
        "vomiting-blood",
        "heat-stroke",
    }
    assert check("sudden testicular pain").rules == ("testicle-sudden",)
    assert check("vomiting blood").rules == ("vomiting-blood",)
    assert "heat-stroke" in check("I think my son is having a heatstroke").rules


def test_advice_of_an_emergency_names_the_emergency_number_and_of_a_crisis_the_crisis_line() -> (
    None
):
    for rule in load_rules().rules:
        assert len(rule.advice) < 420, rule.id
        assert "number" in rule.advice
        if rule.level is not TriageLevel.URGENT:
            assert "(112, 911, 999" in rule.advice, rule.id
        if rule.level is TriageLevel.CRISIS:
            assert "988 in the US" in rule.advice
            assert "your local crisis line" in rule.advice
            assert not rule.educate, rule.id


def test_a_crisis_outranks_an_emergency_and_both_advices_are_given() -> None:
    found = check("I took 40 pills to kill myself")
    assert found.level is TriageLevel.CRISIS
    assert not found.educate
    assert found.rules[0] == "suicide"
    assert "overdose" in found.rules
    assert "crisis line" in found.advice
    assert "poison centre" in found.advice


def test_an_emergency_leaves_out_the_advice_of_what_is_only_urgent() -> None:
    found = check("crushing chest pain spreading to my left arm")
    assert found.rules == ("heart-attack", "chest-pain")
    assert found.advice.count("emergency number") == 1
    assert found.educate


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "?!", "\x00", "12", "\ud800", "ｃａｎ＇ｔ"])
def test_text_without_words_does_no_harm(text: str) -> None:
    assert check(text).level is TriageLevel.NONE


@pytest.mark.parametrize(
    "text",
    [
        "I CAN'T BREATHE!!!",
        "i can’t breathe",
        "i can not breathe",
        "i cant\nbreathe",
        "ｉ ｃａｎｔ ｂｒｅａｔｈｅ",
        "I can't bréathe",
        "i cant breahte",
    ],
)
def test_case_apostrophes_widths_and_typos_do_not_hide_a_red_flag(text: str) -> None:
    assert "breathing" in check(text).rules


def test_a_red_flag_is_found_behind_a_long_text() -> None:
    text = "I have a long story to tell about my garden. " * 150 + "Now I can't breathe."
    assert len(text) > 6_000
    assert "breathing" in check(text).rules


def _adversarial() -> dict[str, str]:
    rules = load_rules()
    seed = random.Random(7)
    known = sorted({word for rule in rules.rules for word in _words_of(rule)})
    return {
        "one letter": "a" * LONG,
        "one word": "pain " * (LONG // 5),
        "prefix of a phrase": "chest " * (LONG // 6),
        "two words": "chest pain " * (LONG // 11),
        "negated": "no " * (LONG // 6) + "chest pain " * (LONG // 22),
        "or-lists": "no or " * (LONG // 6),
        "commas": "chest," * (LONG // 6),
        "sentences": "chest pain. " * (LONG // 12),
        "numbers": "1 2 3 9 " * (LONG // 8),
        "words of the rules": " ".join(seed.choice(known) for _ in range(LONG // 6)),
        "new words": " ".join(f"{seed.randrange(16**6):x}" for _ in range(LONG // 7)),
        "letters": "".join(seed.choice("abcdehiklnopst ") for _ in range(LONG)),
        "typos": " ".join(seed.choice(["chset", "stroek", "breahte"]) for _ in range(LONG // 6)),
        "deep accents": "e\u0301" * (LONG // 2),
    }


def _words_of(rule: object) -> set[str]:
    return {
        word
        for groups in rule.any  # type: ignore[attr-defined]
        for group in groups
        for phrase in group
        for step in phrase.steps
        for word in step.words
    }


def test_the_cost_is_linear_in_the_length() -> None:
    for name, text in _adversarial().items():
        half, whole = text[: len(text) // 2], text
        fixed = scan("word")[1]
        steps = scan(whole)[1] - fixed
        words = max(1, len(read_words(whole, load_rules().lexicon).texts))
        assert steps <= STEPS_PER_WORD * words, name
        assert steps <= 2.6 * max(scan(half)[1] - fixed, fixed), name


def test_no_question_of_a_large_collection_is_taken_for_an_emergency() -> None:
    folder = os.environ.get("MEDQA_BENCH_DATA")
    if not folder or not (Path(folder) / "medquad.jsonl.gz").is_file():
        pytest.skip("needs MedQuAD: set MEDQA_BENCH_DATA to the folder of medquad.jsonl.gz")
    with gzip.open(Path(folder) / "medquad.jsonl.gz", "rt", encoding="utf-8") as lines:
        questions = {json.loads(line)["question"] for line in lines}
    fired = [text for text in sorted(questions)[::4] if check(text).rules]
    assert fired == []


def test_a_phrase_is_checked_when_it_is_compiled() -> None:
    lexicon = Lexicon({"w": ["a"]}, {}, {}, {"words": [], "real_words": []})
    for wrong in ("", "..", "pain ..", ".. pain", "the? chest", "<unknown>", "@unknown pain"):
        with pytest.raises((ValueError, KeyError)):
            lexicon.group(wrong)


def test_the_gate_loads_nothing_heavy() -> None:
    code = (
        "import sys; from medqa_tui.safety.triage import check; check('chest pain');"
        "print([m for m in ('pydantic','numpy','torch','typer','httpx2','textual')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
