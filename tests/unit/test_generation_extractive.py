"""The extractive generator: which sentences it quotes, and how."""

import threading

import numpy as np

from medqa_tui.backend import GenerateRequest, GroundRequest
from medqa_tui.domain import Evidence, GeneratorKind, Passage, Support
from medqa_tui.events import GenerationDone, Token
from medqa_tui.generation.extractive import ExtractiveGenerator, select
from medqa_tui.grounding.sentences import split_sentences
from medqa_tui.grounding.support import SupportChecker


def passage(n, title, text, question=None):
    return Evidence(n, Passage(f"c:d{n}#0", "c", f"d{n}", title, text, question))


GOUT = (
    passage(
        1,
        "Gout",
        "About Gout\n\nGout is a common and painful form of arthritis. It is well known. "
        "The symptoms of gout are sudden joint pain, swelling, warmth and redness. "
        "The first attack often strikes the big toe at night. "
        "See also www.example.org for more about gout symptoms.",
        "What is gout?",
    ),
    passage(
        2,
        "Gout",
        "Medicines such as colchicine and NSAIDs treat an attack of gout. "
        "A doctor may also prescribe allopurinol to prevent more attacks. "
        "What else helps with gout? Losing weight lowers the uric acid in the blood.",
        "How is gout treated?",
    ),
    passage(3, "Pink eye", "Pink eye is treated with drops and spreads very easily to others."),
)


def run(question, evidence=GOUT, cancel=None):
    request = GenerateRequest("t", question, evidence)
    return list(ExtractiveGenerator("starter").stream(request, cancel or threading.Event()))


def test_quotes_the_asked_aspect():
    text = run("What are the symptoms of gout?")[-1].text
    assert "sudden joint pain, swelling, warmth and redness. [1]" in text
    treat = run("How is gout treated?")[-1].text
    assert "colchicine and NSAIDs treat an attack of gout. [2]" in treat
    assert "Pink eye" not in treat


def test_two_to_four_sentences_each_cited_no_headings_no_questions():
    for question in ("What are the symptoms of gout?", "How is gout treated?", "gout"):
        sentences = split_sentences(run(question)[-1].text)
        assert 2 <= len(sentences) <= 4
        assert all(sentence.endswith("]") for sentence in sentences)
        assert not any("About Gout" in s or "?" in s or "www" in s for s in sentences)


def test_sentences_of_a_passage_stay_in_reading_order():
    chosen = select("What are the symptoms of gout?", GOUT)
    assert [(c.rank, c.place) for c in chosen] == sorted((c.rank, c.place) for c in chosen)


def test_every_sentence_passes_the_check():
    question = "How is gout treated?"
    sentences = tuple(split_sentences(run(question)[-1].text))
    request = GroundRequest("t", question, sentences, GOUT, GeneratorKind.EXTRACTIVE)
    checked = SupportChecker().check(request).sentences
    assert {(s.support, s.score) for s in checked} == {(Support.SUPPORTED, 1.0)}


def test_near_duplicates_are_said_once():
    twice = (
        passage(1, "Flu", "The flu causes fever, cough and tiredness in most people."),
        passage(2, "Flu", "In most people the flu causes fever, cough and tiredness."),
    )
    assert run("What are the symptoms of flu?", twice)[-1].text.count("fever") == 1


def test_streams_sentence_by_sentence_and_says_who_spoke():
    events = run("How is gout treated?")
    *tokens, done = events
    assert all(isinstance(token, Token) for token in tokens)
    assert len(tokens) >= 2
    assert isinstance(done, GenerationDone)
    assert "".join(token.text for token in tokens) == done.text
    assert done.generator is GeneratorKind.EXTRACTIVE
    assert done.model.generator is GeneratorKind.EXTRACTIVE
    assert done.finish == "stop"


def test_nothing_to_quote_is_an_abstention():
    headings = (passage(1, "Gout", "About Gout\n\nKey points\n\nGout: overview"),)
    (done,) = run("How is gout treated?", headings)
    assert (done.finish, done.text) == ("abstain", "")
    assert run("How is gout treated?", ())[-1].finish == "abstain"


def test_cancel_stops_before_the_next_sentence():
    cancel = threading.Event()
    stream = ExtractiveGenerator("p").stream(GenerateRequest("t", "gout", GOUT), cancel)
    assert isinstance(next(stream), Token)
    cancel.set()
    (done,) = list(stream)
    assert done.finish == "cancelled"


def test_an_embedding_changes_the_choice():
    target = "The first attack often strikes the big toe at night."

    def embed(texts):
        rows = np.zeros((len(texts), 2), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0 if text in ("gout at night", target) else 1] = 1.0
        return rows

    assert max(select("gout at night", GOUT, embed), key=lambda c: c.score).text == target
