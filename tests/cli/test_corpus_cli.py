"""`corpus`: the cards that ship, listed, shown and counted, on a machine that is not set up."""

from __future__ import annotations

import json

from medqa_tui.corpus.cards import load_cards

from .conftest import Program

CARDS = load_cards()


def test_every_card_is_listed_and_filters_narrow_the_list(medqa: Program) -> None:
    done = medqa("corpus", "show", "starter")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CARDS) + 1
    found = json.loads(medqa("corpus", "show", "starter", "--topic", "shingles", "--json").stdout)
    assert found["cards"]
    assert all("shingles" in card["topic"].lower() for card in found["cards"])


def test_a_card_is_shown_whole(medqa: Program) -> None:
    card = next(card for card in CARDS if card.core13)
    shown = medqa("corpus", "show", "starter", card.id).stdout
    for text in (card.question, card.answer, card.url, card.source, *card.phrasings):
        assert text in shown
    record = json.loads(medqa("corpus", "show", "starter", card.id, "--json").stdout)["card"]
    assert record["answer"] == card.answer
    assert record["core13"] is True


def test_the_figures_are_those_of_the_cards(medqa: Program) -> None:
    record = json.loads(medqa("corpus", "stats", "starter", "--json").stdout)
    assert record["schema_version"] == 1
    assert record["cards"] == len(CARDS)
    assert record["topics"] == len({card.topic for card in CARDS})
    assert record["checked"] == sum(card.checked for card in CARDS)
    assert sum(row["cards"] for row in record["categories"]) == len(CARDS)
    assert sum(record["sites"].values()) == len(CARDS)
    shown = medqa("corpus", "stats", "starter").stdout
    for row in record["categories"]:
        assert row["category"] in shown


def test_what_is_not_there_is_said_with_the_next_command(medqa: Program) -> None:
    card = CARDS[0].id
    for args, code, words in (
        (("stats", "startr"), 2, "medqa-tui corpus stats starter"),
        (("show", "starter", card + "x"), 2, f"medqa-tui corpus show starter {card}"),
        (("show", "starter", "--topic", "no such topic"), 5, "No card fits."),
    ):
        done = medqa("corpus", *args)
        assert done.returncode == code, args
        assert done.stdout == ""
        assert words in done.stderr
