"""What a long message asks; whether it then finds its card needs the embedder: see tests/e2e."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from medqa_tui.domain import Turn
from medqa_tui.retrieval.focus import LONG, focus
from medqa_tui.retrieval.followup import rewrite

MESSAGES = tomllib.loads(
    (Path(__file__).parents[1] / "data" / "long_messages.toml").read_text(encoding="utf-8")
)
SMALL_TALK = "We moved into the new house in March and the garden is lovely at this time of year. "
# Longer than any message that is left as it is.
LETTER = SMALL_TALK * (LONG // len(SMALL_TALK) + 1)


@pytest.mark.parametrize("message", MESSAGES["medical"], ids=lambda m: m["cards"][0])
def test_a_story_becomes_its_question_and_what_it_is_about(message):
    query = focus(message["text"])
    assert message["asks"] in query
    assert len(query) < len(message["text"]) / 2
    assert focus(LETTER + message["text"]) == query


@pytest.mark.parametrize("message", MESSAGES["elsewhere"], ids=lambda m: m["asks"])
def test_a_rant_keeps_the_question_that_gives_it_away(message):
    assert message["asks"] in focus(message["text"])


@pytest.mark.parametrize(
    "text",
    ["", "What is gout?", "I woke up with a sore throat. My ears hurt too. What can I do?"],
)
def test_a_short_message_stays(text):
    assert focus(text) == text


def test_a_letter_about_nothing_stays():
    assert focus(LETTER) == LETTER


def test_a_clear_question_needs_no_story():
    text = f"{LETTER}My knee hurts when I walk. Can antibiotics treat a sore throat?"
    assert focus(text) == "Can antibiotics treat a sore throat?"


def test_a_question_that_points_back_takes_what_it_points_to():
    assert focus(f"{LETTER}I have had a rash on my leg since May. What could it be?") == (
        "What could it be? I have had a rash on my leg since May."
    )


def test_without_a_question_the_story_is_searched():
    assert focus(f"{LETTER}My toe is red and swollen.") == "My toe is red and swollen."


def test_what_is_denied_is_no_topic():
    text = f"{LETTER}I have no fever and no cough or pain. My ear itches. What helps with that?"
    assert focus(text) == "What helps with that? My ear itches."


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("what can i do about a runny nose and a cough", "what can i do about a runny nose"),
        ("Please tell me how to treat a cough with fever", "Please tell me how to treat a cough"),
    ],
)
def test_a_question_without_its_mark_is_found(ending, expected):
    assert focus(f"{LETTER}{ending}").startswith(expected)


def test_a_message_without_full_stops_is_parted():
    flat = LETTER.replace(". ", " and ")
    query = focus(f"{flat}my throat is sore and i have a fever so what should i do about it")
    assert query.startswith("so what should i do about it?")
    assert "my throat is sore" in query
    assert len(query) < 200


def test_one_endless_word_or_sentence_is_no_trouble():
    assert focus("x" * 8000) == "x" * 8000
    assert len(focus("pain " * 1600)) <= 8000


def test_a_long_message_is_rewritten_like_a_follow_up_and_brings_its_own_topic():
    earlier = (Turn("What are the symptoms of type 2 diabetes?", "Thirst."),)
    story = f"{LETTER}I have had a rash on my leg since May. What could it be?"
    assert rewrite(story, earlier) == focus(story)
    gout = (Turn(f"{LETTER}My toe is red. What causes gout and can it be cured?", "Crystals."),)
    assert "gout" in rewrite("How is it treated?", gout)
