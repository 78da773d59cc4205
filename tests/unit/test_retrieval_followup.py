import subprocess
import sys

import pytest

from medqa_tui.domain import Turn
from medqa_tui.retrieval.followup import rewrite

DIABETES = "What are the symptoms of type 2 diabetes?"


def follow(question: str, *earlier: str) -> str:
    return rewrite(question, tuple(Turn(text, "") for text in earlier))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How is it treated?", "How is type 2 diabetes treated?"),
        ("How is that diagnosed?", "How is type 2 diabetes diagnosed?"),
        ("Can it cause blindness?", "Can type 2 diabetes cause blindness?"),
        ("Does metformin help with it?", "Does metformin help with type 2 diabetes?"),
        ("Is there a cure for this disease?", "Is there a cure for type 2 diabetes?"),
        ("What are its complications?", "What are type 2 diabetes complications?"),
        ("What are the causes?", "What are the causes (type 2 diabetes)?"),
        ("side effects?", "side effects (type 2 diabetes)?"),
        ("Who is at risk?", "Who is at risk (type 2 diabetes)?"),
        ("What should I eat?", "What should I eat (type 2 diabetes)?"),
        (
            "How long does it take to recover?",
            "How long does it take to recover (type 2 diabetes)?",
        ),
        ("What about children?", "What about children (type 2 diabetes symptoms)?"),
        ("And in pregnancy?", "And in pregnancy (type 2 diabetes symptoms)?"),
        ("What about type 1?", "What about type 1 (diabetes symptoms)?"),
        ("What about asthma?", "What about asthma (symptoms)?"),
        ("Why?", DIABETES),
        ("tell me more", DIABETES),
    ],
)
def test_a_follow_up_gets_the_topic(question, expected):
    assert follow(question, DIABETES) == expected


@pytest.mark.parametrize(
    "question",
    [
        "What causes asthma?",
        "Who won the 1998 World Cup?",
        "Is it safe to take ibuprofen while pregnant?",
        "I have strep throat, is it contagious?",
        "My skin is itchy and it burns at night",
        "It hurts when I pee, what should I do?",
        "What are the signs that a mole is cancer?",
        "thanks",
        "",
    ],
)
def test_a_question_that_stands_alone_stays(question):
    assert follow(question, DIABETES) == question


def test_without_a_conversation_nothing_changes():
    assert follow("How is it treated?") == "How is it treated?"
    assert follow("How is it treated?", "hello") == "How is it treated?"


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ((DIABETES, "Can it cause blindness?"), "How is type 2 diabetes treated?"),
        ((DIABETES, "What about type 1 diabetes?"), "How is type 1 diabetes treated?"),
        ((DIABETES, "What about type 1?"), "How is type 1 diabetes treated?"),
        ((DIABETES, "What about children?", "why?"), "How is type 2 diabetes treated?"),
        ((DIABETES, "What causes asthma?", "who gets it?"), "How is asthma treated?"),
        (("What is Alzheimer's disease?",), "How is Alzheimer's disease treated?"),
        (("Is shingles contagious?", "thanks"), "How is shingles treated?"),
    ],
)
def test_the_topic_is_the_latest_one_named(earlier, expected):
    assert follow("How is it treated?", *earlier) == expected


def test_it_needs_only_the_standard_library():
    code = (
        "import sys; from medqa_tui.retrieval.followup import rewrite;"
        "print([m for m in ('numpy', 'torch', 'bm25s', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
