"""What only a terminal shows: the shell, Ctrl-C, colour, the status line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect
import pytest
from filelock import FileLock

from medqa_tui.history.store import HistoryStore

from .conftest import clean_environment

DIABETES = "What are the symptoms of type 2 diabetes?"
PROMPT = "Medical question: "


def spawn(home: Path, *args: str, **env: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "medqa_tui", *args],
        env=clean_environment(home, **{"TERM": "xterm-256color", **env}),
        encoding="utf-8",
        dimensions=(24, 80),
        timeout=60,
    )


def ended(child: pexpect.spawn) -> int:
    """Wait for the program's end and return its exit code."""
    if not child.flag_eof:
        child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus is not None, f"ended by signal {child.signalstatus}"
    return int(child.exitstatus)


@pytest.fixture
def shell(small_home: Path) -> pexpect.spawn:
    """The line-based shell, at its first prompt."""
    child = spawn(small_home, "ask", "--no-engine")
    child.expect_exact(PROMPT)
    return child


def test_the_shell_answers_and_ends_by_word(shell: pexpect.spawn) -> None:
    assert "not medical advice" in shell.before
    shell.sendline(DIABETES)
    shell.expect_exact("Sources")
    shell.expect_exact("Not medical advice")
    shell.expect_exact(PROMPT)
    shell.sendline("exit")
    assert ended(shell) == 0


@pytest.mark.parametrize("word", ["quit", "EXIT", "\x04"], ids=["quit", "EXIT", "Ctrl-D"])
def test_the_shell_has_other_ends(shell: pexpect.spawn, word: str) -> None:
    if word == "\x04":
        shell.sendeof()
    else:
        shell.sendline(word)
    assert ended(shell) == 0


def test_follow_ups_share_a_conversation_until_a_new_one(shell: pexpect.spawn) -> None:
    shell.sendline(DIABETES)
    shell.expect_exact(PROMPT)
    shell.sendline("How is it treated?")
    shell.expect("Searched for: .*diabetes")
    shell.expect_exact(PROMPT)
    shell.sendline("new")
    shell.expect_exact("A new conversation.")
    shell.expect_exact(PROMPT)
    shell.sendline("What is anemia?")
    shell.expect_exact("Sources")
    shell.expect_exact(PROMPT)
    assert "Searched for:" not in shell.before
    shell.sendline("exit")
    assert ended(shell) == 0


def test_a_question_that_was_refused_is_no_topic(shell: pexpect.spawn) -> None:
    for question in (DIABETES, "Who won the 1998 World Cup?"):
        shell.sendline(question)
        shell.expect_exact(PROMPT)
    shell.sendline("what about treatment")
    shell.expect("Searched for: .*diabetes")
    assert "World Cup" not in shell.after
    shell.expect_exact(PROMPT)
    shell.sendline("exit")
    assert ended(shell) == 0


def test_ctrl_c_at_the_prompt_gives_another_prompt(shell: pexpect.spawn) -> None:
    shell.send("half a quest")
    shell.expect_exact("half a quest")
    # Echoed by the terminal before the line editor has taken over, the first key may be lost.
    for _ in range(10):
        shell.sendintr()
        if shell.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=10) == 0:
            break
    # So may a line: what is typed before the prompt is read again goes with the interrupt.
    for _ in range(10):
        shell.sendline("exit")
        if shell.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 0:
            break
    assert ended(shell) == 0


def test_an_error_returns_to_the_prompt(home: Path) -> None:
    child = spawn(home, "ask", "--no-setup")
    child.expect_exact(PROMPT)
    child.sendline("What is anemia?")
    child.expect_exact("medqa-tui setup")
    child.expect_exact(PROMPT)
    child.sendline("")
    child.expect_exact(PROMPT)
    child.sendline("exit")
    assert ended(child) == 0


def test_an_emergency_in_the_shell_leads_with_advice(home: Path) -> None:
    child = spawn(home, "ask")
    child.expect_exact(PROMPT)
    child.sendline("crushing chest pain spreading to my left arm")
    child.expect_exact("emergency number")
    child.expect_exact(PROMPT)
    assert not (home / "data" / "models").exists()
    child.sendline("exit")
    assert ended(child) == 0


def test_line_history_is_not_written_to_disk(shell: pexpect.spawn, tmp_path: Path) -> None:
    shell.sendline("exit")
    assert ended(shell) == 0
    assert not list(Path.home().glob(".python_history_medqa*"))
    assert not [path for path in tmp_path.rglob("*") if "readline" in path.name]


def test_colour_where_it_is_shown_and_none_where_it_is_not(small_home: Path) -> None:
    coloured = spawn(small_home, "ask", "--no-engine", DIABETES)
    coloured.expect_exact("\x1b[1mSources\x1b[0m")
    assert ended(coloured) == 0
    for args, env in ((["--plain"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})):
        child = spawn(small_home, "ask", "--no-engine", *args, DIABETES, **env)
        child.expect_exact("Sources")
        shown = child.before + child.after
        assert ended(child) == 0
        assert "\x1b" not in shown + child.before


def test_plain_output_draws_nothing_over(small_home: Path) -> None:
    child = spawn(small_home, "ask", "--no-engine", "--plain", DIABETES)
    child.expect(pexpect.EOF)
    assert not re.search(r"\r(?!\r?\n)", child.before)
    assert child.before.isascii()


def test_lines_fit_the_terminal(small_home: Path) -> None:
    child = spawn(small_home, "ask", "--no-engine", "--plain", DIABETES)
    child.expect_exact("Sources")
    answer = child.before.splitlines()
    assert max(len(line) for line in answer if "[" in line) <= 80
    assert ended(child) == 0


def test_ctrl_c_while_setup_waits_ends_with_130(home: Path) -> None:
    data = home / "data"
    data.mkdir(parents=True)
    with FileLock(data / "setup.lock"):
        child = spawn(home, "ask", "What is anemia?")
        child.expect_exact("waiting for it")
        child.sendintr()
        assert ended(child) == 130
    assert not (data / "active.json").exists()


def test_ctrl_c_while_an_index_build_waits_ends_with_130(small_home: Path) -> None:
    with FileLock(small_home / "data" / "setup.lock"):
        child = spawn(small_home, "index", "build", "--force")
        child.expect_exact("waiting for it")
        child.sendintr()
        assert ended(child) == 130


def test_ctrl_c_cancels_a_running_answer(small_home: Path, tmp_path: Path) -> None:
    # The first heavy import never comes to an end, as on a disk that hangs.
    stalled = tmp_path / "stalled" / "torch"
    stalled.mkdir(parents=True)
    (stalled / "__init__.py").write_text("import threading\nthreading.Event().wait()\n")
    child = spawn(
        *(small_home, "ask", "--no-engine", "What is anemia?"),
        PYTHONPATH=str(stalled.parent),
        MEDQA_RETRIEVAL__MODE="hybrid",
    )
    child.expect_exact("Loading the embedder.")
    child.sendintr()
    child.expect_exact("Cancelled.")
    assert ended(child) == 130
    kept = HistoryStore(small_home / "data" / "history.db").list(5)
    assert [entry.question for entry in kept] == ["What is anemia?"]


def test_a_second_ctrl_c_ends_what_does_not_stop(home: Path) -> None:
    program = (
        "import threading\n"
        "from medqa_tui.cli.interrupt import first_calls\n"
        "with first_calls(lambda: print('asked to stop', flush=True)):\n"
        "    print('working', flush=True)\n"
        "    while True:\n"
        "        threading.Event().wait()\n"
    )
    child = pexpect.spawn(sys.executable, ["-c", program], env=clean_environment(home), timeout=60)
    child.expect_exact("working")
    child.sendintr()
    child.expect_exact("asked to stop")
    child.sendintr()
    assert ended(child) == 130
