"""The prompt's budget, the device plan and loops."""

import pytest

from medqa_tui.domain import Evidence, Passage, Turn
from medqa_tui.errors import MedQAError
from medqa_tui.generation import prompt
from medqa_tui.generation.device import Host, plan
from medqa_tui.generation.stopping import first_loop, repeats

EVIDENCE = tuple(
    Evidence(n, Passage(f"c:d{n}#0", "c", f"d{n}", f"Title {n}", f"word{n} " * 50))
    for n in range(1, 6)
)
QUESTION = "What are the symptoms of type 2 diabetes? " * 3


def count(messages):
    return sum(len(message["content"].split()) for message in messages)


def fit(budget, context=()):
    return prompt.fit(QUESTION, EVIDENCE, context, budget=budget, count=count)


def test_everything_fits_a_wide_budget():
    fitted = fit(10_000)
    assert (fitted.dropped, fitted.evidence) == (0, EVIDENCE)
    assert all(f"[{n}]" in fitted.messages[-1]["content"] for n in range(1, 6))


@pytest.mark.parametrize("kept", [4, 3, 2, 1])
def test_whole_passages_go_from_the_worst_end(kept):
    budget = count(prompt.build(QUESTION, EVIDENCE[:kept]))
    fitted = fit(budget)
    assert fitted.tokens == budget
    assert fitted.evidence == EVIDENCE[:kept]
    assert fitted.dropped == 5 - kept
    text = fitted.messages[-1]["content"]
    assert text.count(f"word{kept}") == 50
    assert f"word{kept + 1}" not in text
    assert " ".join(QUESTION.split()) in text


def test_the_question_is_never_cut():
    with pytest.raises(MedQAError, match="too long"):
        fit(20)


def test_the_conversation_is_bounded_and_goes_before_the_best_passage():
    turns = tuple(Turn(f"question{n} " * 90, f"answer{n} " * 90) for n in range(5))
    text = prompt.build(QUESTION, EVIDENCE, turns)[-1]["content"]
    assert "question4" in text
    assert "question3" in text
    assert "question2" not in text
    assert text.count("answer4") < 60
    fitted = fit(count(prompt.build(QUESTION, EVIDENCE[:1])), turns)
    assert fitted.evidence == EVIDENCE[:1]
    assert "question4" not in fitted.messages[-1]["content"]


def test_the_template_hash_follows_the_words(monkeypatch):
    before = prompt.template_hash()
    assert before == prompt.template_hash()
    assert len(before) == 64
    closed = prompt.template_hash(closed_book=True)
    assert closed != before, "an adapter of one prompt is told from one of the other"
    monkeypatch.setattr(prompt, "_SYSTEM", prompt._SYSTEM + " More.")
    assert prompt.template_hash() != before
    assert prompt.template_hash(closed_book=True) == closed
    monkeypatch.setattr(prompt, "_CLOSED_USER", "Question: {question}")
    assert prompt.template_hash(closed_book=True) != closed


def steps(host, wanted="auto"):
    return [(a.device, a.quantization, a.fall) for a in plan(host, wanted)]


def test_the_device_plan_falls_in_order():
    cpu_fall = [("cpu", "nf4", True), ("cpu", "bf16", True)]
    gpu = Host("Some GPU", gpu_4bit=True)
    assert steps(gpu) == [("cuda", "nf4", False), ("cuda", "bf16", True), *cpu_fall]
    assert steps(Host("Some GPU")) == [("cuda", "bf16", True), *cpu_fall]
    assert steps(Host()) == [("cpu", "nf4", False), ("cpu", "bf16", True)]
    assert steps(Host(), "cuda") == cpu_fall
    assert steps(gpu, "cpu") == [("cpu", "nf4", False), ("cpu", "bf16", True)]
    assert all(attempt.reason for attempt in plan(gpu))


@pytest.mark.parametrize(
    ("tokens", "loops"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
        ([1] * 7, False),
        ([1] * 8, True),
        ([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], True),
        ([1, 2, 1, 2, 3], False),
        ([*range(16), 99, *range(16)], True),
        ([*range(15), 99, *range(15)], False),
    ],
)
def test_loops(tokens, loops):
    assert repeats(tokens) is loops


def test_the_loop_is_cut_where_it_shows():
    tokens = [5, 6, 7, *[1, 2, 3] * 5]
    assert first_loop(tokens, 3) == 12
    assert first_loop([1, 2, 3], 0) is None


def kinds(attempts):
    return [(a.device, a.quantization, a.fall) for a in attempts]


def test_full_weights_of_an_encoder_decoder_come_first_and_never_in_fp16():
    gpu = Host("Some GPU", gpu_4bit=True)
    assert kinds(plan(gpu, dense_first=True)) == [
        ("cuda", "bf16", False),
        ("cuda", "nf4", True),
        ("cpu", "bf16", True),
        ("cpu", "nf4", True),
    ]
    old = Host("Old GPU", gpu_4bit=False, gpu_bf16=False, cpu_bf16=False)
    assert kinds(plan(old, dense_first=True)) == [
        ("cuda", "fp32", False),
        ("cpu", "fp32", True),
        ("cpu", "nf4", True),
    ]
    assert kinds(plan(Host(), dense_first=True)) == [("cpu", "bf16", False), ("cpu", "nf4", True)]
    assert plan(Host(), "cuda", dense_first=True)[0].fall
    assert not plan(gpu, "cpu", dense_first=True)[0].fall
    for host in (gpu, old, Host()):
        for attempt in (*plan(host), *plan(host, dense_first=True)):
            assert attempt.quantization in {"nf4", "bf16", "fp32"}
            assert attempt.reason.endswith(".")


def test_closed_book_words_are_those_of_the_earlier_project():
    system, user = prompt.closed_book("What  is\nasthma?")
    assert user["content"] == prompt.closed_book_text("What is asthma?")
    assert user["content"] == "Medical question: What is asthma?"
    assert "[" not in system["content"]
