import subprocess
import sys

import pytest

from medqa_tui.corpus.cards import CardError, Split, load_cards, parse_cards

CARD = '''
topic = "Asthma"
category = "chronic disease"

[[card]]
id = "asthma-what"
question = "What is  asthma?"
phrasings = ["asma", "whezing"]
answer = """
Asthma narrows the airways.
It can be controlled.
"""
source = "Asthma, NHLBI"
url = "https://www.nhlbi.nih.gov/asthma"
written = 2026-11-21
checked = true
core13 = false
split = "train"
'''


def test_a_card_becomes_a_passage_with_its_provenance():
    (card,) = parse_cards(CARD, "asthma.toml")
    assert card.split is Split.TRAIN
    (record,) = card.to_passages()
    passage = record.passage
    assert passage.id == "starter:asthma-what#0"
    assert (passage.corpus, passage.document) == ("starter", "asthma-what")
    assert (passage.title, passage.question) == ("Asthma", "What is asthma?")
    assert passage.text == "Asthma narrows the airways. It can be controlled."
    assert (passage.licence, passage.date) == ("CC BY 4.0", "2026-11-21")
    assert passage.url == "https://www.nhlbi.nih.gov/asthma"


def test_phrasings_are_searched_but_not_shown():
    (record,) = parse_cards(CARD, "asthma.toml")[0].to_passages()
    assert "whezing" in record.lexical_text
    assert "whezing" in record.dense_texts
    assert "whezing" not in record.passage.text


def test_a_long_answer_is_cut_and_keeps_its_question():
    long = " ".join(f"Sentence number {n} says something about asthma." for n in range(60))
    text = CARD.replace("Asthma narrows the airways.\nIt can be controlled.", long)
    records = parse_cards(text, "asthma.toml")[0].to_passages()
    assert [r.passage.id for r in records] == [
        f"starter:asthma-what#{n}" for n in range(len(records))
    ]
    assert len(records) > 1
    assert {r.passage.question for r in records} == {"What is asthma?"}
    assert " ".join(r.passage.text for r in records) == long


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('url = "https://www.nhlbi.nih.gov/asthma"', 'url = "nhlbi"', ["asthma-what", "url"]),
        ('split = "train"', 'split = "dev"', ["asthma-what", "split", "heldout"]),
        ("checked = true", 'checked = "yes"', ["asthma-what", "checked", "bool"]),
        ("checked = true", "checked = 1", ["checked", "bool"]),
        ("written = 2026-11-21", 'written = "2026"', ["written", "date"]),
        ('source = "Asthma, NHLBI"', 'source = " "', ["source", "empty"]),
        ('source = "Asthma, NHLBI"', "", ["source", "missing"]),
        ("core13 = false", "core13 = false\nauthor = 1", ["author", "known field"]),
        ('phrasings = ["asma", "whezing"]', 'phrasings = ["asma", 3]', ["phrasings"]),
        ('id = "asthma-what"', 'id = "Asthma What"', ["Asthma What", "id", "hyphens"]),
        ('id = "asthma-what"', "id = 3", ["card number 1", "id", "str"]),
        ('topic = "Asthma"', "", ["topic", "missing"]),
        ('topic = "Asthma"', 'topic = "Asthma', ["TOML"]),
        ("[[card]]", "[card]", ["card", "list"]),
    ],
)
def test_errors_name_file_card_and_field(old, new, words):
    with pytest.raises(CardError) as caught:
        parse_cards(CARD.replace(old, new), "asthma.toml")
    for word in ["asthma.toml", *words]:
        assert word in caught.value.detail


def test_an_id_is_used_once():
    second = CARD[CARD.index("[[card]]") :]
    with pytest.raises(CardError, match="twice"):
        parse_cards(CARD + second, "asthma.toml")


def test_hidden_characters_never_reach_a_passage():
    text = CARD.replace("narrows", "nar\u00adrows\u202e the\u200b").replace(
        "NHLBI", "NH\x1b[31mLBI"
    )
    (record,) = parse_cards(text.replace("\x1b", "\\u001b"), "asthma.toml")[0].to_passages()
    assert record.passage.text.startswith("Asthma narrows the the airways.")
    assert record.passage.source == "Asthma, NHLBI"


def test_the_cards_of_the_package_are_valid():
    cards = load_cards()
    assert cards
    assert len({card.id for card in cards}) == len(cards)


def test_reading_cards_imports_nothing_heavy():
    code = (
        "import sys; from medqa_tui.corpus.cards import load_cards; load_cards();"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'bm25s') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
