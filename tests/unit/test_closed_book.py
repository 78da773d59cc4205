"""Answers from the model's memory: when, how they are decoded, and that they are told as such."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_backend import GOOD, NO_MODEL, QUESTION, URGENT, Memory, ScriptedBackend, run

from medqa_tui.backend import FELL_TO_EXTRACTIVE
from medqa_tui.config import Settings
from medqa_tui.config.load import allowed_values, load_settings
from medqa_tui.config.schema import AnswerSettings
from medqa_tui.config.write import set_value
from medqa_tui.contract import answer_record
from medqa_tui.domain import (
    AnswerStatus,
    ConfidenceLabel,
    Failure,
    Question,
    Support,
    Triage,
    Turn,
)
from medqa_tui.errors import ExitCode, UsageError
from medqa_tui.events import EvidenceFound, Notice, SentenceChecked, Token, TriageFound
from medqa_tui.generation.decoding import Decoding, decoding_of
from medqa_tui.grounding import closed_book
from medqa_tui.history.store import HistoryStore
from medqa_tui.tui.wording import closed_book_line, plain_answer, support_summary

SAID = "Diabetes makes people thirsty. [3] It may blur the sight."


def remembering(
    text: str = SAID, finish: str = "stop", broken: Failure | None = None
) -> ScriptedBackend:
    """Return a backend whose model says `text` from memory, and that can quote."""
    return ScriptedBackend({"model": text, "extractive": GOOD}, finish=finish, broken=broken)


def settings(profile: str = "starter", **answer: object) -> Settings:
    return Settings(profile=profile, answer=AnswerSettings(**answer))  # type: ignore[arg-type]


NO_EVIDENCE = settings(evidence="false")


# -- the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [NO_EVIDENCE, settings("classic")], ids=["asked", "classic"])
async def test_it_is_written_from_memory_and_says_so_everywhere(chosen: Settings) -> None:
    backend = remembering()
    events, answer = await run(backend, settings=chosen)
    assert (backend.searched, backend.checked) == ([], [])
    assert not any(isinstance(event, EvidenceFound) for event in events)
    (request,) = backend.written
    assert (request.closed_book, request.evidence, request.generator) == (True, (), "model")
    notice = next(event for event in events if isinstance(event, Notice))
    assert (notice.code, notice.message) == (closed_book.CODE, closed_book.LABEL)
    assert events.index(notice) < next(
        n for n, event in enumerate(events) if isinstance(event, Token)
    )
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.closed_book
    assert answer.text == "Diabetes makes people thirsty. It may blur the sight."
    assert {s.support for s in answer.sentences} == {Support.NOT_CHECKED}
    assert {s.citations for s in answer.sentences} == {()}
    assert answer.evidence == ()
    assert answer.confidence.label is ConfidenceLabel.LOW
    assert not answer.confidence.calibrated
    assert sum(isinstance(event, SentenceChecked) for event in events) == 2
    record = answer_record(answer)
    assert record["closed_book"] is True
    assert [s["support"] for s in record["sentences"]] == ["not_checked", "not_checked"]
    assert closed_book.LABEL in record["notices"]
    assert "no evidence supports it" in closed_book_line(answer)
    assert support_summary(answer.sentences) == "○ 2 not checked"
    assert closed_book.SHORT in plain_answer(answer)


async def test_an_answer_from_evidence_says_nothing_of_it() -> None:
    _, answer = await run(ScriptedBackend({"auto": GOOD}))
    assert answer.sentences[0].support is Support.SUPPORTED
    assert not answer.closed_book
    assert answer_record(answer)["closed_book"] is False
    assert closed_book_line(answer) == ""
    assert closed_book.SHORT not in plain_answer(answer)


async def test_what_is_kept_until_the_end_says_so_too(tmp_path: Path) -> None:
    memory = Memory()
    _, answer = await run(remembering(), memory=memory, settings=NO_EVIDENCE)
    whole = closed_book.labelled(answer.text)
    assert memory.told[-2:] == [f"partial {whole}", "finish"]
    # As after a kill: shown with its label, while a follow-up reads the words alone.
    store = HistoryStore(tmp_path / "history.db")
    recorder = store.recorder("s")
    recorder.begin(Question(QUESTION, "t"), Triage())
    recorder.partial("t", whole)
    assert store.list()[0].text.startswith(closed_book.SHORT)
    assert store.turns("s") == (Turn(QUESTION, answer.text),)
    assert closed_book.SHORT not in answer.text


async def test_a_follow_up_is_asked_whole() -> None:
    backend = remembering()
    earlier = (Turn(QUESTION, "It causes thirst."),)
    _, answer = await run(backend, "How is it treated?", earlier, settings=NO_EVIDENCE)
    assert "diabetes" in backend.written[0].question
    assert backend.written[0].context == ()
    assert answer.query == backend.written[0].question


async def test_one_long_sentence_without_a_full_stop_is_shown() -> None:
    _, answer = await run(remembering("thirst and more thirst", "length"), settings=NO_EVIDENCE)
    assert answer.text == "thirst and more thirst"
    _, answer = await run(remembering("It causes thirst. And some", "length"), settings=NO_EVIDENCE)
    assert answer.text == "It causes thirst."


@pytest.mark.parametrize(
    ("text", "finish"), [("", "stop"), ("The evidence does not answer this question.", "abstain")]
)
async def test_a_model_that_remembers_nothing_is_an_honest_no(text: str, finish: str) -> None:
    _, answer = await run(remembering(text, finish), settings=NO_EVIDENCE)
    assert answer.status is AnswerStatus.ABSTAINED
    assert answer.exit_code == ExitCode.ABSTAINED
    assert "without evidence" in answer.text
    assert "searched" not in answer.text


async def test_beside_red_flags_stand_only_the_words_of_evidence() -> None:
    backend = remembering()
    events, answer = await run(backend, URGENT, settings=NO_EVIDENCE)
    assert isinstance(events[0], TriageFound)
    assert backend.asked == ["extractive"]
    assert answer.exit_code == ExitCode.EMERGENCY
    assert not answer.closed_book
    assert closed_book.ALARMED in answer.notices
    assert answer.sentences[0].support is Support.SUPPORTED


async def test_without_a_model_evidence_is_quoted_and_the_reason_said() -> None:
    backend = remembering(broken=NO_MODEL)
    events, answer = await run(backend, settings=NO_EVIDENCE)
    codes = [event.code for event in events if isinstance(event, Notice)]
    assert codes == [closed_book.CODE, FELL_TO_EXTRACTIVE]
    assert backend.asked == ["model", "extractive"]
    assert answer.status is AnswerStatus.ANSWERED
    assert not answer.closed_book
    assert answer.text == GOOD
    assert any("There is no model. It is gone." in notice for notice in answer.notices)


async def test_a_model_that_is_asked_for_by_name_has_to_be_there() -> None:
    chosen = settings(evidence="false", generator="model")
    _, answer = await run(remembering(broken=NO_MODEL), settings=chosen)
    assert answer.status is AnswerStatus.FAILED
    assert answer.failure
    assert answer.failure.title == "There is no model."


async def test_settings_that_contradict_each_other_end_with_code_2() -> None:
    backend = remembering()
    chosen = settings("classic", temperature=0.7)
    _, answer = await run(backend, settings=chosen)
    assert answer.exit_code == ExitCode.USAGE
    assert backend.written == []
    _, answer = await run(backend, URGENT, settings=chosen)
    assert answer.exit_code == ExitCode.EMERGENCY
    assert answer.triage.advice


# -- how it is decoded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (settings(), Decoding()),
        (settings("classic"), Decoding(closed_book=True, beams=4, no_repeat_ngram=3)),
        (settings("classic", evidence="true"), Decoding(beams=4, no_repeat_ngram=3)),
        (settings("classic", beams=1, no_repeat_ngram=0), Decoding(closed_book=True)),
        (settings("classic", generator="extractive"), Decoding(beams=4, no_repeat_ngram=3)),
        (settings(evidence="false"), Decoding(closed_book=True)),
        (settings(beams=3, no_repeat_ngram=4), Decoding(beams=3, no_repeat_ngram=4)),
        (settings(temperature=0.7), Decoding()),
        (settings(temperature=0.7, beams=2, sample="true"), Decoding(beams=2)),
        (settings("not-there"), Decoding()),
    ],
)
def test_what_settings_and_profile_come_to(chosen: Settings, expected: Decoding) -> None:
    assert decoding_of(chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "title"),
    [
        (settings("classic", temperature=0.7), "temperature means nothing without sampling"),
        (settings(temperature=0.7, beams=2), "temperature means nothing without sampling"),
        (settings(temperature=0.7, sample="false"), "temperature means nothing without sampling"),
        (settings(sample="true"), "Sampling needs a temperature"),
        (settings(evidence="false", generator="extractive"), "nothing to quote"),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(chosen: Settings, title: str) -> None:
    with pytest.raises(UsageError, match=title) as caught:
        decoding_of(chosen)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "answer." in caught.value.detail
    assert caught.value.hint.startswith("medqa-tui config set answer.")


@pytest.mark.parametrize("written", ["false", "False", "0", "no"])
def test_evidence_is_turned_off_in_the_environment(
    written: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path))
    monkeypatch.setenv("MEDQA_ANSWER__EVIDENCE", written)
    assert load_settings().answer.evidence == "false"


def test_evidence_is_turned_off_in_the_file_as_toml_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from medqa_tui.paths import get_paths

    monkeypatch.setenv("MEDQA_HOME", str(tmp_path))
    assert allowed_values("answer.evidence") == ("auto", "true", "false")
    assert set_value("answer.evidence", "false") == "false"
    path = get_paths().config_file
    path.write_text("[answer]\nevidence = false\nsample = true\n")
    options = load_settings().answer
    assert (options.evidence, options.sample) == ("false", "true")
