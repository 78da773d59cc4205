"""Misspelt words are put right by the corpus's own, and lay words get the words of health pages."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from medqa_tui.corpus.cards import load_cards
from medqa_tui.retrieval.lay import explained
from medqa_tui.retrieval.reading import Reader, vocabulary

RECORDS = [record for card in load_cards() for record in card.to_passages()]
WORDS = vocabulary(RECORDS)
# What a language model's vocabulary knows beside the words of the cards.
ENGLISH = {"whistle", "horse", "ceiling", "doctor", "foot", "dose", "wheel"}
READER = Reader(WORDS, ENGLISH.__contains__)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("what is soriasis", "what is psoriasis"),
        ("simptoms of an underactive thyriod", "symptoms of an underactive thyroid"),
        ("Hemroids at home", "hemorrhoids at home"),
        ("is atrail fibrilation dangerus", "is atrial fibrillation dangerous"),
        ("sergury for the nee", "surgery for the nee"),
        ("brochitis or newmonia", "bronchitis or newmonia"),
        ("a tyroid ulser in the kindey", "a thyroid ulcer in the kidney"),
    ],
)
def test_misspelt_words_are_read_as_words_of_the_corpus(typed: str, read: str) -> None:
    assert READER.read(typed).text == read


@pytest.mark.parametrize(
    "question",
    [
        "What are the symptoms of type 2 diabetes?",
        "I whistle when I look at the ceiling, says the doctor's horse",
        "Is Qwzyxvutplk contagious?",
        "his words come out jumbled",
        "two puffers and a jab",
        "",
        "??? 123 €",
        "q" * 500,
    ],
)
def test_what_is_known_or_near_nothing_stays_as_it_was_typed(question: str) -> None:
    reading = READER.read(question)
    assert reading.text == question
    assert reading.corrections == ()


@pytest.mark.parametrize(
    ("medicine", "other"),
    [
        ("meloxicam", "mexican"),
        ("fluvoxamine", "fluoxetine"),
        ("nimodipine", "nifedipine"),
        ("glargine", "glycine"),
        ("desonide", "describe"),
        ("levaquin", "levin"),
        ("toradol", "tornado"),
        ("remipril", "restoril"),
        ("coreg", "core"),
        ("neupro", "neuro"),
        ("tasmar", "tartar"),
    ],
)
def test_no_medicine_is_read_as_another_word(medicine: str, other: str) -> None:
    reader = Reader({other: 50}, ENGLISH.__contains__)
    assert reader.read(f"how much {medicine}").corrections == ()


def test_a_rare_word_of_a_large_corpus_is_known_but_no_model() -> None:
    reader = Reader({"arthritis": 1, "asthma": 9}, ENGLISH.__contains__, passages=10_000)
    assert reader.read("arthritis").corrections == ()
    assert reader.read("artritis").corrections == ()
    assert reader.read("asthmma").text == "asthma"


def test_the_corrections_are_told_as_they_were_typed() -> None:
    reading = READER.read("Soriasis and gout")
    assert reading.corrections == (("Soriasis", "psoriasis"),)


def test_no_word_of_a_card_is_ever_corrected() -> None:
    for card in load_cards():
        assert READER.read(card.answer).corrections == ()


def test_other_phrasings_do_not_teach_spelling() -> None:
    misspelt = {"gowt", "asma", "shingels", "hemmoroids"} & {
        word for card in load_cards() for p in card.phrasings for word in p.lower().split()
    }
    assert misspelt
    assert not misspelt & WORDS.keys()


def test_without_a_vocabulary_nothing_is_corrected() -> None:
    reading = Reader({}, lambda word: False).read("soriasis")
    assert (reading.text, reading.corrections) == ("soriasis", ())


def test_lay_words_are_explained_once_and_not_where_they_are_said_already() -> None:
    reading = READER.read("Throwing up since noon, what helps against throwing up?")
    assert reading.added == ("vomiting",)
    assert reading.searched.endswith("(vomiting)")
    assert explained("throwing up, or vomiting") == ()
    assert explained("a heart attack") == ()


def test_the_list_of_lay_words_is_sound() -> None:
    file = resources.files("medqa_tui.retrieval").joinpath("lay_words.toml")
    words = tomllib.loads(file.read_text(encoding="utf-8"))["words"]
    assert len(words) > 1000
    for lay, meant in words.items():
        assert lay == lay.lower().strip()
        assert 1 <= len(meant) <= 3
        assert all(word == word.lower().strip() and word and word != lay for word in meant)


@pytest.mark.parametrize(
    ("question", "meant"),
    [
        ("she throws it all up again", "vomiting"),
        ("my heart is racing", "palpitations"),
        ("hearts were racing past", "palpitations"),
        ("throw the rubbish and only then stand up", None),
    ],
)
def test_phrases_match_by_stems_with_a_word_or_two_between(
    question: str, meant: str | None
) -> None:
    found = explained(question)
    assert meant in found if meant else "vomiting" not in found


def test_what_the_corpus_says_itself_is_not_explained() -> None:
    assert explained("renal cancer") == ("kidney",)
    assert explained("renal cancer", {"renal"}.__contains__) == ()
    assert Reader({"renal": 4}, ENGLISH.__contains__).read("renal pelvis").added == ("kidney",)
    assert Reader({"renal": 5}, ENGLISH.__contains__).read("renal pelvis").added == ()


def test_the_longest_phrase_takes_its_words() -> None:
    assert explained("number two hurts") == ("bowel movement",)
    assert explained("a number") == ()
