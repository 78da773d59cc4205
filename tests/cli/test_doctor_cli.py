"""`medqa-tui doctor`, as typed."""

import json
import subprocess
import sys
from pathlib import Path

from medqa_tui.domain import Answer, AnswerStatus, Question, Triage
from medqa_tui.history.store import HistoryStore

from .conftest import Program, clean_environment

CANARY = "zqxcanary quibblefever of the marmoset"
SAID = "Zqxanswer says that marmosets recover."


def test_a_machine_that_is_not_set_up(medqa: Program, home: Path) -> None:
    done = medqa("doctor", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["schema_version"], found["ok"]) == (1, False)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks)[:4] == ["settings", "python", "libraries", "package index"]
    assert {name for name, check in checks.items() if check["status"] == "fail"} == {
        "models",
        "corpora",
        "index",
    }
    assert checks["models"]["fix"] == "medqa-tui setup"
    assert checks["bitsandbytes"]["status"] == "ok"
    assert checks["device"]["detail"]
    assert not home.exists()


def test_a_broken_config_is_a_finding_and_no_end(medqa: Program, home: Path) -> None:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text("[retrieval]\nk = 'many'\n")
    done = medqa("doctor", "--plain")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAIL      settings      ")
    assert f"{path}, line 2" in lines[0]
    assert lines[1].strip() == "Fix: Change it with: medqa-tui config set retrieval.k VALUE"
    assert any(line.startswith("ok        torch ") for line in lines)
    assert "to fix" in done.stderr


def test_deep_finds_what_a_glance_does_not_and_repair_puts_it_right(
    small: Program, small_home: Path
) -> None:
    path = small_home / "data" / "history.db"
    store = HistoryStore(path)
    store.recorder("s").begin(Question("Why?", "t"), Triage())
    store.database.run(lambda c: c.execute("DELETE FROM turns_search"))
    store.close()
    half = small_home / "data" / "models" / ".incoming-x"
    half.mkdir()
    adapter = small_home / "data" / "adapters" / "mine"
    adapter.mkdir(parents=True)
    done = small("doctor", "--deep", "--repair", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["history"]["status"] == checks["leftovers"]["status"] == "ok"
    assert "every one read" in checks["corpora"]["detail"]
    assert {each["part"]: each["ok"] for each in found["repairs"]} == {
        "leftovers": True,
        "history": True,
        "adapters": False,
    }
    assert [c["name"] for c in found["checks"] if c["status"] == "fail"] == ["adapters"]
    assert "medqa-tui adapter remove mine" in found["repairs"][-1]["fix"]
    assert not half.exists()
    assert HistoryStore(path).search("why").total == 1


def test_a_report_holds_no_question_no_answer_and_no_name(small_home: Path) -> None:
    env = clean_environment(small_home, HOME=str(small_home.parent), USER="quentinzq")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "medqa_tui", *args],
            capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    assert run("ask", "--no-engine", CANARY).returncode == 5
    store = HistoryStore(small_home / "data" / "history.db")
    recorder = store.recorder("s")
    recorder.begin(Question(CANARY, "t9"), Triage())
    recorder.finish("t9", Answer(CANARY, AnswerStatus.ANSWERED, SAID))
    logs = small_home / "state" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "engine.log").write_text(
        "2026-01-01 10:00:00,000 INFO engine started: pid 1\n"
        f"2026-01-01 10:00:01,000 ERROR {CANARY.upper()}: {SAID}\n"
        "Traceback (most recent call last):\n"
        '  File "/home/quentinzq/lib/x.py", line 3, in work\n'
        f'    raise ValueError("{CANARY}")\n'
        f"ValueError: {CANARY}\n",
    )
    _crash(small_home, env)
    target = small_home / "report.txt"
    done = run("doctor", "--report", str(target))
    assert done.returncode == 0, done.stderr
    assert target.stat().st_mode & 0o777 == 0o600
    text = target.read_text()
    for private in ("zqx", "quibblefever", "marmoset", "quentinzq", str(small_home.parent)):
        assert private not in text.lower(), private
    for told in (
        "medqa-tui report", "torch 2.", "ok    python:", "generator HuggingFaceTB/",
        "revision", 'mode = \'bm25\' (file ~', "retrieval.k = 5", "engine started: pid 1",
        'File "/home/user/lib/x.py", line 3', "RuntimeError", "questions are kept",
    ):  # fmt: skip
        assert told in text, told
    assert run("doctor", "--report", str(target)).returncode == 2
    assert run("doctor", str(target)).returncode == 2


def _crash(home: Path, env: dict[str, str]) -> None:
    """Let the command line meet an error nobody foresaw, whose words repeat the question."""
    code = (
        "import sys, medqa_tui.assistant\n"
        "def broken(question, *args, **more):\n"
        "    raise RuntimeError(question.text)\n"
        "medqa_tui.assistant.answer = broken\n"
        f"sys.argv = ['medqa-tui', 'ask', '--no-engine', {CANARY!r}]\n"
        "from medqa_tui.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError" in (home / "state" / "logs" / "cli.log").read_text()
