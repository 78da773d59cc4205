"""The writers of stdout and stderr, byte by byte."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from medqa_tui.cli import diagnostics, output, search, terminal
from medqa_tui.cli.render import AnswerPrinter
from medqa_tui.domain import (
    Answer,
    AnswerStatus,
    Evidence,
    Passage,
    Sentence,
    Support,
    Triage,
    TriageLevel,
)
from medqa_tui.errors import MedQAError
from medqa_tui.events import DraftDropped, Notice, SentenceChecked, StatusChanged


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    terminal.set_plain(False)
    diagnostics.configure()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """An 80-column terminal, for `on`."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Screen()


@contextmanager
def on(screen: Screen) -> Iterator[None]:
    """Make it stdout and stderr; in a test's own body, since pytest swaps them before it."""
    with redirect_stdout(screen), redirect_stderr(screen):
        yield


def evidence(n: int) -> Evidence:
    return Evidence(
        n, Passage(f"c:d{n}#0", "c", f"d{n}", "Asthma", "Text.", url=f"https://example.org/{n}")
    )


def sentence(text: str, *citations: int) -> SentenceChecked:
    return SentenceChecked("t", Sentence(text, citations, Support.SUPPORTED))


def test_text_is_cleaned_and_styles_are_not(screen: Screen) -> None:
    with on(screen):
        output.write("a\x1b[31mb\u202ec", style="bold red")
    assert screen.getvalue() == "\x1b[1;31mabc\x1b[0m\n"


def test_no_color_takes_the_style_away(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with on(screen):
        output.write("a", style="bold")
    assert screen.getvalue() == "a\n"


def test_json_holds_nothing_that_a_terminal_acts_on(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"text": "é \x1b[31m \x9b31m \u202e \u2028"}
    output.emit_json(record)
    line = capsys.readouterr().out
    assert json.loads(line) == record
    assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(line)
    assert "é" in line


def test_a_table_in_a_pipe_keeps_every_letter(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("n", "what"), [(1, "x" * 200), (20, None)])
    assert capsys.readouterr().out == f" n  what\n 1  {'x' * 200}\n20\n"


def test_a_table_gives_way_on_a_narrow_terminal(screen: Screen) -> None:
    with on(screen):
        output.table(("what", "where"), [("x" * 100, "y" * 30)])
    lines = screen.getvalue().splitlines()
    assert lines[1] == f"{'x' * 47}…  {'y' * 30}"


def test_figures_stand_on_the_right_and_words_on_the_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.table(("loss", "what"), [("1.50", "a"), ("-10.25", "1 min"), ("", "+3%")])
    assert capsys.readouterr().out == "  loss  what\n  1.50  a\n-10.25  1 min\n        +3%\n"


def test_what_was_found_fits_a_narrow_terminal(screen: Screen) -> None:
    with on(screen):
        search._table([evidence(1), evidence(2)], "asthma")
    assert screen.getvalue().splitlines()[:2] == [
        "[1] Asthma - c",
        "\x1b[2m    matched: asthma\x1b[0m",
    ]
    assert max(map(len, screen.getvalue().splitlines())) <= 80
    assert "rerank" in screen.getvalue()


def test_an_error_is_its_title_detail_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.report(MedQAError("It broke.", "This file.", "medqa-tui doctor"))
    diagnostics.report(MedQAError("It broke.", "", "Check its permissions."))
    assert capsys.readouterr().err == (
        "It broke. This file.\nTry: medqa-tui doctor\nIt broke.\nCheck its permissions.\n"
    )


def test_notes_break_between_words_and_commands_do_not(screen: Screen) -> None:
    command = "medqa-tui config set history.enabled false"
    with on(screen):
        diagnostics.note(f"{'word ' * 12}and to turn that off, type this: {command}")
    said = screen.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "")
    first, second = said.splitlines()
    assert first == f"{'word ' * 12}and to turn that"
    assert second == f"off, type this: {command}"


def test_a_table_of_facts_hangs_under_its_values(screen: Screen) -> None:
    with on(screen):
        output.facts([("Empty", ""), ("Folder", "a " * 45)], 10, "  ")
    first, second = screen.getvalue().splitlines()
    assert first.startswith("  Folder:   a a")
    assert second.startswith(" " * 12 + "a")


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.note("note")
    diagnostics.detail("detail")
    diagnostics.configure(quiet=True)
    diagnostics.note("hushed")
    diagnostics.warn("warning")
    diagnostics.configure(verbose=1)
    diagnostics.detail("more")
    assert capsys.readouterr().err == "note\nWarning: warning\nmore\n"


def test_a_status_line_leaves_nothing_behind(screen: Screen) -> None:
    with on(screen), diagnostics.StatusLine() as line:
        line.show("Loading the embedder.", 0.5, "(1 of 2)")
    drawn = screen.getvalue()
    assert "Loading the embedder. 50% (1 of 2)" in drawn
    assert "\x1b" not in drawn
    assert drawn.endswith("\r")
    last = drawn[:-1].rsplit("\r", 1)[1]
    assert last.strip() == ""


def test_a_status_in_a_pipe_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with diagnostics.StatusLine() as line:
        for done in (0.1, 0.2):
            line.show("Loading", done)
    assert capsys.readouterr().err == "Loading\n"


def test_an_answer_flows_as_one_paragraph_and_ends_with_its_sources(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with diagnostics.StatusLine() as line:
        printer = AnswerPrinter(line)
        printer.show(sentence("One.", 1))
        printer.show(Notice("t", "left_out", "1 sentence was left out."))
        printer.show(sentence("Two.", 3, 1))
        kept = (Sentence("One.", (1,)), Sentence("Two.", (3, 1)))
        printer.finish(
            Answer(
                "q",
                AnswerStatus.ANSWERED,
                "One. [1] Two. [3][1]",
                kept,
                tuple(evidence(n) for n in (1, 2, 3)),
                notices=("1 sentence was left out.",),
            )
        )
    written = capsys.readouterr()
    assert written.out == (
        "One. [1] Two. [3][1]\n\nSources\n"
        "[1] Asthma - c\n    https://example.org/1\n"
        "[3] Asthma - c\n    https://example.org/3\n"
    )
    assert written.err.count("1 sentence was left out.") == 1


def test_an_abstention_shows_what_was_near(capsys: pytest.CaptureFixture[str]) -> None:
    with diagnostics.StatusLine() as line:
        answer = Answer("q", AnswerStatus.ABSTAINED, "I don't know.", evidence=(evidence(1),))
        AnswerPrinter(line).finish(answer)
    assert capsys.readouterr().out.startswith("I don't know.\n\nNearest passages\n[1] Asthma")


def test_an_emergency_without_an_answer_lists_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with diagnostics.StatusLine() as line:
        emergency = Triage(TriageLevel.EMERGENCY, ("chest-pain",), "Call now.")
        answer = Answer(
            "q",
            AnswerStatus.EMERGENCY,
            "I don't know.",
            evidence=(evidence(1),),
            triage=emergency,
        )
        AnswerPrinter(line).finish(answer)
    assert capsys.readouterr().out == "I don't know.\n"


def test_a_dropped_draft_is_said_and_the_next_one_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with diagnostics.StatusLine() as line:
        printer = AnswerPrinter(line)
        printer.show(DraftDropped("t", "The draft did not stand."))
        printer.show(sentence("Quoted.", 1))
        kept = (Sentence("Quoted.", (1,)),)
        printer.finish(Answer("q", AnswerStatus.ANSWERED, "Quoted. [1]", kept, (evidence(1),)))
    written = capsys.readouterr()
    assert written.out.startswith("Quoted. [1]\n\nSources")
    assert "The draft did not stand." in written.err


def test_prose_breaks_between_words_on_a_terminal(screen: Screen) -> None:
    with on(screen), diagnostics.StatusLine() as line:
        printer = AnswerPrinter(line)
        for _ in range(6):
            printer.show(sentence("Seven words stand in this short sentence.", 1))
        printer.finish(Answer("q", AnswerStatus.ANSWERED, "x"))
    prose = screen.getvalue().splitlines()
    assert max(map(len, prose)) <= 80
    assert " ".join(prose).count("sentence. [1]") == 6


def test_notes_in_the_answer_s_own_file_come_after_it(tmp_path: Path) -> None:
    path = tmp_path / "both"
    with (
        path.open("w", encoding="utf-8") as both,
        redirect_stdout(both),
        redirect_stderr(both),
        diagnostics.StatusLine() as line,
    ):
        printer = AnswerPrinter(line)
        printer.show(sentence("One.", 1))
        printer.show(Notice("t", "left_out", "1 sentence was left out."))
        printer.show(StatusChanged("t", "generating", "Checking"))
        printer.show(sentence("Two.", 1))
        said = tuple(Sentence(text, (1,)) for text in ("One.", "Two."))
        printer.finish(
            Answer("q", AnswerStatus.ANSWERED, "One. [1] Two. [1]", said, (evidence(1),))
        )
    assert path.read_text(encoding="utf-8").splitlines()[:6] == [
        "One. [1] Two. [1]",
        "",
        "Sources",
        "[1] Asthma - c",
        "    https://example.org/1",
        "Note: 1 sentence was left out.",
    ]


def test_an_error_does_not_follow_the_last_word_of_an_unfinished_line(screen: Screen) -> None:
    with on(screen):
        output.write("Half an answer", end="", flush=True)
        diagnostics.report(MedQAError("It broke."))
        output.write("whole line")
        diagnostics.note("")
    said = screen.getvalue().replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert said == "Half an answer\nIt broke.\nwhole line\n\n"


def test_a_closed_book_answer_is_labelled_beside_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = (Sentence("Rest helps."),)
    with diagnostics.StatusLine() as line:
        printer = AnswerPrinter(line)
        printer.show(SentenceChecked("t", said[0]))
        printer.finish(Answer("q", AnswerStatus.ANSWERED, "Rest helps.", said, closed_book=True))
    written = capsys.readouterr()
    assert written.out == "Rest helps.\n\nClosed-book answer: no evidence supports it.\n"
