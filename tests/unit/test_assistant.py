"""The use case, step by step: a scripted generator, and the real gate, checker and bookkeeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from scripted_backend import (
    GOOD,
    PASSAGE,
    QUESTION,
    TALK,
    ScriptedBackend,
    run,
)

from medqa_tui.backend import FELL_TO_EXTRACTIVE, GenerateEvent, GenerateRequest
from medqa_tui.config import Settings
from medqa_tui.domain import AnswerStatus, Evidence, GeneratorKind, Scores, Support, Turn
from medqa_tui.errors import ExitCode
from medqa_tui.events import (
    AnswerDone,
    DraftDropped,
    EvidenceFound,
    Notice,
    SentenceChecked,
    Token,
)


async def test_evidence_comes_before_tokens_and_the_answer_last() -> None:
    events, answer = await run(ScriptedBackend({"auto": GOOD}))
    kinds = [type(event) for event in events]
    assert kinds.index(EvidenceFound) < kinds.index(Token) < kinds.index(SentenceChecked)
    assert kinds[-1] is AnswerDone
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.text == GOOD
    assert answer.sentences[0].citations == (1,)
    assert answer.sentences[0].support is Support.SUPPORTED
    assert answer.model.generator is GeneratorKind.MODEL
    assert answer.exit_code == ExitCode.OK
    assert {event.turn for event in events} == {"t1"}


async def test_a_draft_that_does_not_stand_is_replaced_and_said_so() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD})
    events, answer = await run(backend)
    assert backend.asked == ["auto", "extractive"]
    assert any(isinstance(event, DraftDropped) for event in events)
    assert answer.text == GOOD
    assert answer.model.generator is GeneratorKind.EXTRACTIVE
    assert answer.notices


async def test_where_quoting_is_better_no_model_is_asked() -> None:
    _, answer = await run(ScriptedBackend({"auto": TALK, "extractive": GOOD}, quotes=True))
    assert answer.text == GOOD
    assert answer.model.generator is GeneratorKind.EXTRACTIVE
    assert answer.notices == ()


async def test_a_model_that_is_asked_for_still_falls_to_quoting() -> None:
    wanted = Settings.model_validate({"answer": {"generator": "model"}})
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD})
    _, answer = await run(backend, settings=wanted)
    assert backend.asked == ["auto", "extractive"]
    assert answer.text == GOOD


async def test_an_unsupported_sentence_is_left_out_with_a_notice() -> None:
    events, answer = await run(ScriptedBackend({"auto": f"{GOOD} {TALK}"}))
    assert answer.text == GOOD
    assert [event.code for event in events if isinstance(event, Notice)] == ["left_out"]


async def test_what_an_engine_without_its_model_quotes_is_not_held_back() -> None:
    @dataclass
    class Fallen(ScriptedBackend):
        async def generate(
            self, request: GenerateRequest, cancel: asyncio.Event
        ) -> AsyncIterator[GenerateEvent]:
            yield Notice(request.turn, FELL_TO_EXTRACTIVE, "There is no model.")
            async for event in super().generate(replace(request, generator="extractive"), cancel):
                yield event

    sentences = (
        "Common symptoms of diabetes are thirst and passing more urine.",
        "Some people with diabetes feel very tired or have blurred vision.",
        "Cuts and bruises of people with diabetes may heal slowly.",
        "Many people with type 2 diabetes notice no symptoms for years.",
    )
    evidence = (
        Evidence(1, replace(PASSAGE, text="It is common."), Scores(dense=0.9)),
        Evidence(2, replace(PASSAGE, text=" ".join(sentences)), Scores(dense=0.8)),
    )
    quoted = " ".join(f"{sentence} [2]" for sentence in sentences)
    events, answer = await run(Fallen({"extractive": quoted}, evidence))
    assert not any(isinstance(event, DraftDropped) for event in events)
    assert (answer.status, answer.text) == (AnswerStatus.ANSWERED, quoted)
    assert answer.notices == ("There is no model.",)


async def test_a_sentence_said_twice_is_shown_once() -> None:
    events, answer = await run(ScriptedBackend({"auto": f"{GOOD} {GOOD}"}))
    assert answer.text == GOOD
    assert sum(isinstance(event, SentenceChecked) for event in events) == 1


async def test_a_hopeless_draft_is_cut_short() -> None:
    endless = " ".join([TALK] * 50)
    backend = ScriptedBackend({"auto": endless, "extractive": GOOD})
    _, answer = await run(backend)
    assert answer.text == GOOD
    assert backend.tokens_sent < len(endless.split(" ")) / 4


async def test_an_unfinished_last_sentence_is_not_shown() -> None:
    _, answer = await run(ScriptedBackend({"auto": f"{GOOD} Some people feel"}, finish="length"))
    assert answer.text == GOOD


async def test_nothing_relevant_means_no_model_call() -> None:
    backend = ScriptedBackend({"auto": GOOD}, relevant=False)
    events, answer = await run(backend, "Who won the 1998 World Cup?")
    assert backend.asked == []
    assert not any(isinstance(event, Token) for event in events)
    assert answer.status is AnswerStatus.ABSTAINED
    assert answer.exit_code == ExitCode.ABSTAINED
    assert answer.text


async def test_a_passage_on_another_topic_is_shown_but_not_read() -> None:
    evidence = (
        Evidence(1, PASSAGE, Scores(dense=0.9)),
        Evidence(2, replace(PASSAGE, title="Gout", text="Gout hurts."), Scores(dense=0.5)),
        Evidence(3, PASSAGE, Scores(dense=0.8)),
    )
    backend = ScriptedBackend({"auto": GOOD}, evidence)
    events, answer = await run(backend)
    assert backend.read == {(1, 3)}
    assert answer.evidence == evidence
    assert [e.evidence for e in events if isinstance(e, EvidenceFound)] == [evidence, evidence]


async def test_a_model_that_declines_is_believed() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD}, finish="abstain")
    _, answer = await run(backend, "Is type 2 diabetes inherited?")
    assert backend.asked == ["auto"]
    assert answer.status is AnswerStatus.ABSTAINED


async def test_a_model_that_declines_beside_the_very_question_is_not() -> None:
    backend = ScriptedBackend({"auto": TALK, "extractive": GOOD}, finish="abstain")
    events, answer = await run(backend, "what are the symptoms of type 2 diabetes")
    assert backend.asked == ["auto", "extractive"]
    assert any(isinstance(event, DraftDropped) for event in events)
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.text == GOOD


async def test_a_follow_up_searches_with_its_topic() -> None:
    backend = ScriptedBackend({"auto": GOOD})
    context = (Turn(QUESTION, "Thirst."),)
    _, answer = await run(backend, "How is it treated?", context)
    assert "diabetes" in backend.searched[0].query.lower()
    assert answer.query == backend.searched[0].query


async def test_control_characters_never_reach_the_answer() -> None:
    hostile = GOOD.replace("thirst", "th\x1b[31mirst").replace("Type", "\u202eType")
    events, answer = await run(ScriptedBackend({"auto": hostile}), "symptoms\x07 of diabetes")
    shown = answer.text + answer.question + "".join(e.text for e in events if isinstance(e, Token))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x07" not in shown
