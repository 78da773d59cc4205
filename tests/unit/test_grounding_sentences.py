"""Sentence ends, whole and streamed."""

import random

import pytest

from medqa_tui.grounding.sentences import SentenceBuffer, split_sentences

CASES = [
    ("Thirst is common. Fatigue too.", ["Thirst is common.", "Fatigue too."]),
    (
        "It is common. [1] It is treated [2]. Yes.",
        ["It is common. [1]", "It is treated [2].", "Yes."],
    ),
    ("It is common. [1][2] [3]. Next one.", ["It is common. [1][2] [3].", "Next one."]),
    ("It is common.[1] next one starts low.", ["It is common.[1]", "next one starts low."]),
    ("[1] Thirst is common. [2] More.", ["[1] Thirst is common. [2]", "More."]),
    (
        "A dose, e.g. Metformin, of 3.5 mg. Ask Dr. Smith.",
        ["A dose, e.g. Metformin, of 3.5 mg.", "Ask Dr. Smith."],
    ),
    (
        "The U.S. Food office says so. Take vitamin D. It helps.",
        ["The U.S. Food office says so.", "Take vitamin D.", "It helps."],
    ),
    ('Is it bad? No! "It is not." He left.', ["Is it bad?", "No!", '"It is not."', "He left."]),
    (
        "Signs:\n- thirst\n- hunger\n\nSee a doctor",
        ["Signs:", "- thirst", "- hunger", "See a doctor"],
    ),
    ("1. Drink water. 2. Rest well.", ["1. Drink water.", "2. Rest well."]),
    (
        "one line\nand its wrap. Then [brackets that are far too long to be a mark] go on.",
        ["one line and its wrap.", "Then [brackets that are far too long to be a mark] go on."],
    ),
    ("Numbers like A.1c stay. Wait... What?", ["Numbers like A.1c stay.", "Wait...", "What?"]),
    ("", []),
    ("  \n\n ", []),
    ("No end at all", ["No end at all"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_splits(text, expected):
    assert split_sentences(text) == expected


@pytest.mark.parametrize("text", [case[0] for case in CASES])
@pytest.mark.parametrize("seed", range(4))
def test_streamed_pieces_give_the_same_sentences(text, seed):
    rng = random.Random(seed)
    buffer, found, at = SentenceBuffer(), [], 0
    while at < len(text):
        size = 1 if seed == 0 else rng.randint(1, 7)
        found += buffer.push(text[at : at + size])
        at += size
    assert found + buffer.flush() == split_sentences(text)


def test_random_text_streams_like_the_whole():
    rng = random.Random(7)
    alphabet = ["a", "B", ".", " ", "\n", "[1]", "[", "]", "1", "- ", "!", "Dr", "e.g.", '"', "mg"]
    for _ in range(1500):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 25)))
        buffer = SentenceBuffer()
        found = [sentence for char in text for sentence in buffer.push(char)] + buffer.flush()
        assert found == split_sentences(text), text


def test_a_mark_after_the_full_stop_is_awaited():
    buffer = SentenceBuffer()
    assert buffer.push("Thirst is common.") == []
    assert buffer.push(" ") == []
    assert buffer.push("[1") == []
    assert buffer.push("] F") == ["Thirst is common. [1]"]
    assert buffer.flush() == ["F"]
