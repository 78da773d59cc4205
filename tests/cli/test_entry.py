"""The program's entry: help, version, usage errors, exit codes, what is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from medqa_tui import __version__

from .conftest import Program, clean_environment

COMMANDS = (
    *("ask", "search", "setup", "adapter", "model", "history", "corpus", "eval", "index"),
    *("engine", "config", "train", "doctor", "completion"),
)


def imported_by(*args: str, home: Path) -> set[str]:
    """Return the modules that a run of the program has loaded when it ends."""
    program = (
        f"import sys; sys.argv = ['medqa-tui', *{args!r}]\n"
        "from medqa_tui.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(home),
    )
    return set(done.stderr.split())


def test_version(medqa: Program) -> None:
    done = medqa("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"medqa-tui {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(medqa: Program, flag: str) -> None:
    done = medqa(flag)
    assert done.returncode == 0
    assert done.stderr == ""
    listed = done.stdout.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.strip().splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("args", [["--version"], ["--help"]], ids=" ".join)
def test_the_entry_imports_only_what_it_shows(home: Path, args: list[str]) -> None:
    modules = imported_by(*args, home=home)
    assert "medqa_tui.cli.main" in modules
    roots = {name.partition(".")[0] for name in modules}
    assert not roots & {"torch", "textual", "pydantic", "numpy", "httpx2", "sqlite3", "rich"}
    commands = {f"medqa_tui.cli.{name}" for name in COMMANDS}
    assert not modules & commands
    assert not home.exists()


def test_a_command_imports_no_other_command(home: Path) -> None:
    modules = imported_by("search", "--help", home=home)
    assert "medqa_tui.cli.search" in modules
    others = {f"medqa_tui.cli.{name}" for name in COMMANDS} - {"medqa_tui.cli.search"}
    assert not modules & others


@pytest.mark.parametrize("command", ["ask", "search", "index"])
def test_a_command_s_help_shows_the_shared_options(medqa: Program, command: str) -> None:
    done = medqa(command, "--help")
    assert done.returncode == 0
    for option in ("--json", "--plain", "--offline", "--profile", "--quiet", "--verbose"):
        assert option in done.stdout


def test_no_command_without_a_terminal_is_a_usage_error_with_help(medqa: Program) -> None:
    done = medqa()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: medqa-tui" in done.stderr


@pytest.mark.parametrize("group", ["index", "train", "corpus"])
def test_a_group_called_bare_shows_its_help_and_no_more(medqa: Program, group: str) -> None:
    done = medqa(group)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count(f"medqa-tui {group}") == 1
    assert "Commands:" in done.stderr
    assert "Try:" not in done.stderr


@pytest.mark.parametrize(
    ("args", "wrong", "hint"),
    [
        (["serch"], "serch", "Try: medqa-tui search"),
        (["doctr"], "doctr", "Try: medqa-tui doctor"),
        (["what is flu"], "what is flu", 'Try: medqa-tui ask "what is flu"'),
        (["ask", "--jsno", "x"], "--jsno", "Try: medqa-tui ask --json"),
        (["--offlin"], "--offlin", "Try: medqa-tui --offline"),
        (["adapter", "use", "--none"], "--none", "Try: medqa-tui adapter use --help"),
        (["index", "verfy"], "verfy", "Try: medqa-tui index verify"),
        (["index", "nothing"], "nothing", "Try: medqa-tui index --help"),
        (["ask", "-k", "0", "x"], "-k", "Try: medqa-tui ask --help"),
        (["ask", "-k", "many", "x"], "-k", "Try: medqa-tui ask --help"),
    ],
)
def test_a_usage_error_names_what_is_wrong_and_what_is_near(
    medqa: Program, args: list[str], wrong: str, hint: str
) -> None:
    done = medqa(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert wrong in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_usage_error_is_an_object_too_with_json(medqa: Program) -> None:
    done = medqa("ask", "--jsno", "--json", "x")
    assert done.returncode == 2
    record = json.loads(done.stdout)
    assert record["schema_version"] == 1
    assert record["error"]["title"]
    assert record["error"]["hint"] == "medqa-tui ask --json"
    assert record["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "args", [["--json", "ask", "--no-setup", "hi"], ["ask", "--no-setup", "hi", "--json"]]
)
def test_shared_options_work_before_and_after_the_command(medqa: Program, args: list[str]) -> None:
    done = medqa(*args)
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["exit_code"] == 3


def test_an_unknown_profile_is_not_announced_as_being_installed(medqa: Program) -> None:
    done = medqa("ask", "--profile", "nope", "hi")
    assert done.returncode == 2
    assert "Setting up" not in done.stderr


def test_a_bad_setting_is_a_usage_error(medqa: Program) -> None:
    done = medqa("ask", "--no-setup", "hi", MEDQA_RETRIEVAL__K="lots")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_is_a_usage_error(medqa: Program) -> None:
    done = medqa("ask", "--no-setup", "--profile", "startr", "hi")
    assert done.returncode == 2
    assert "starter" in done.stderr


def test_an_error_nobody_foresaw_is_one_sentence_and_a_log_without_the_question(
    home: Path,
) -> None:
    program = (
        "import sys; sys.argv = ['medqa-tui', 'ask', 'a secret rash', *sys.argv[1:]]\n"
        "from medqa_tui.safety import triage\n"
        "def broken(text): raise RuntimeError(f'cannot read {text}')\n"
        "triage.check = broken\n"
        "from medqa_tui.__main__ import main; main()\n"
    )

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(home),
        )

    done = run()
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "-vv" in done.stderr
    log = home / "state" / "logs" / "cli.log"
    assert str(log) in done.stderr
    written = log.read_text(encoding="utf-8")
    assert "RuntimeError" in written
    assert "secret rash" not in written
    assert log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in run("-vv").stderr


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "medqa_tui", "--help"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(home),
    )
    assert program.stdout is not None
    assert program.stderr is not None
    # Nobody reads: the pipe is closed before the program has written anything.
    program.stdout.close()
    said = program.stderr.read()
    program.wait()
    program.stderr.close()
    assert said == b""


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (">&-", "config get retrieval.k", 0),
        ("2>&-", "config get retrieval.k", 0),
        ("2>&-", "nonsense", 2),
        ("<&-", "ask", 2),
        ("<&- >&- 2>&-", "nonsense", 2),
    ],
)
def test_closed_streams_are_no_crash(home: Path, closed: str, arguments: str, code: int) -> None:
    shell = f'"{sys.executable}" -m medqa_tui {arguments} {closed}'
    done = subprocess.run(
        ["sh", "-c", shell], capture_output=True, check=False, env=clean_environment(home)
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Something went wrong" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "options",
    [
        ["--version"],
        ["--help"],
        ["train", "generator", "-h"],
        ["config", "show", "--json"],
    ],
)
def test_a_full_disk_behind_stdout_is_said_in_words(home: Path, options: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "medqa_tui", *options],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=clean_environment(home),
        )
    assert done.returncode == 1
    assert done.stderr.decode().strip() == (
        "The output could not be written. No space left on device."
    )


def test_notes_that_cannot_be_written_cost_no_data(home: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "medqa_tui", "config", "get", "-v", "retrieval.k"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
        env=clean_environment(home),
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"5\n")


def test_the_app_is_opened_on_a_terminal(home: Path) -> None:
    program = (
        "import sys; sys.argv = ['medqa-tui', '--profile', 'p', '--no-engine']\n"
        "def open_app(**wanted):\n"
        "    print('opened', wanted)\n"
        "    return 0\n"
        "from medqa_tui.cli.main import run; run(open_app)\n"
    )
    child = pexpect.spawn(
        sys.executable, ["-c", program], env=clean_environment(home, TERM="xterm"), timeout=60
    )
    child.expect("opened {'profile': 'p', 'in_process': True}")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_terminal_that_cannot_draw_is_told_what_to_type(home: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "medqa_tui"],
        env=clean_environment(home, TERM="dumb"),
        timeout=60,
    )
    child.expect("Try: medqa-tui ask")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 2
