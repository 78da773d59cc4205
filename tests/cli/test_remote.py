"""Answers from an OpenAI-compatible server: the generator, its faults, `ask --profile remote`."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from medqa_tui.backend import GenerateRequest
from medqa_tui.config.schema import RemoteSettings, Settings
from medqa_tui.domain import Evidence, Passage
from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.events import GenerationDone, Token
from medqa_tui.generation.remote import (
    KEY_FILE,
    RemoteGenerator,
    address_of,
    read_key,
    require_remote,
)
from medqa_tui.models.active import Active

from .answer_server import AnswerServer
from .conftest import program_in
from .small_home import paths_of

FACT = "Asthma causes wheezing and coughing."
EVIDENCE = (Evidence(1, Passage("c:1#0", "c", "1", "Asthma", FACT)),)
REQUEST = GenerateRequest("t", "What are the symptoms of asthma?", EVIDENCE, max_new_tokens=50)


def stream(generator: RemoteGenerator, request=REQUEST, cancel=None):
    return list(generator.stream(request, cancel or threading.Event()))


def test_a_draft_streams_and_says_what_it_cost() -> None:
    with AnswerServer("Asthma causes ", "wheezing. [1]", key="secret") as server:
        events = stream(RemoteGenerator("remote", server.url, server.model, "secret"))
    *tokens, done = events
    assert [token.text for token in tokens if isinstance(token, Token)] == list(server.words)
    assert isinstance(done, GenerationDone)
    assert done.text == "Asthma causes wheezing. [1]"
    assert done.finish == "stop"
    assert (done.tokens.prompt, done.tokens.completion) == (40, 9)
    assert done.model.base == server.model
    (asked,) = server.asked
    assert asked["max_tokens"] == 50
    assert asked["temperature"] == 0
    assert FACT in asked["messages"][-1]["content"]


def test_cancel_closes_the_connection() -> None:
    cancel = threading.Event()
    with AnswerServer("one ", "two ") as server:
        server.hold = True
        events = []
        for event in RemoteGenerator("remote", server.url, server.model).stream(REQUEST, cancel):
            events.append(event)
            cancel.set()
        assert server.gone.wait(60)
    assert events[-1].finish == "cancelled"
    assert events[-1].text == "one "


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 500}, "failed"),
        ({"status": 404}, "does not have this model"),
        ({"key": "other"}, "another key"),
        ({"cut": 1}, "failed"),
        ({"status": 302}, "failed"),
    ],
    ids=["500", "404", "401", "cut", "redirect"],
)
def test_each_fault_of_a_server_is_a_sentence(fault: dict, words: str) -> None:
    with AnswerServer("one ", "two ") as server:
        for name, value in fault.items():
            setattr(server, name, value)
        with pytest.raises(MedQAError) as caught:
            stream(RemoteGenerator("remote", server.url, server.model))
    assert words in caught.value.title
    assert server.url in caught.value.detail
    assert caught.value.hint


def test_no_server_is_said() -> None:
    with AnswerServer() as server:
        url = server.url
    with pytest.raises(MedQAError, match="cannot be reached"):
        stream(RemoteGenerator("remote", url, "m"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("http://host/api/v1/chat/completions", "http://host/api/v1"),
    ],
)
def test_addresses_are_read_as_people_write_them(url: str, address: str) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize("url", ["host:8000", "ftp://host", "http://", "http://me:pw@host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        address_of(url)


def test_nothing_is_sent_where_nobody_agreed() -> None:
    remote = RemoteSettings(url="http://host:1", model="m")
    with pytest.raises(UsageError, match="agreed"):
        require_remote(Settings(remote=remote))
    agreed = remote.model_copy(update={"confirmed": "http://host:1/v1"})
    assert require_remote(Settings(remote=agreed)) == "http://host:1/v1"
    moved = agreed.model_copy(update={"url": "http://other:1"})
    with pytest.raises(UsageError, match="agreed"):
        require_remote(Settings(remote=moved))
    with pytest.raises(UsageError, match="offline"):
        require_remote(Settings(remote=agreed, offline=True))


def test_the_key_is_read_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDQA_REMOTE_KEY", raising=False)
    assert read_key(tmp_path) == ""
    path = tmp_path / KEY_FILE
    path.write_text("secret\n", encoding="utf-8")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="Others may read"):
        read_key(tmp_path)
    path.chmod(0o600)
    assert read_key(tmp_path) == "secret"
    monkeypatch.setenv("MEDQA_REMOTE_KEY", "other")
    assert read_key(tmp_path) == "other"


def _remote_home(small_home: Path, url: str, confirmed: str) -> None:
    """Let the small home answer through a server as well."""
    paths = paths_of(small_home)
    Active("remote", "remote", "remote", "all-minilm-l6-v2", "starter").write(paths)
    with paths.config_file.open("a", encoding="utf-8") as config:
        config.write(f'\n[remote]\nurl = "{url}"\nmodel = "team/medical"\n')
        config.write(f'confirmed = "{confirmed}"\n')


ASK = ("ask", "--profile", "remote", "--no-engine", "--no-save", "--json")
QUESTION = "What are the symptoms of asthma?"


def test_ask_streams_from_the_server_and_checks_what_it_says(small_home: Path) -> None:
    said = "Asthma can cause wheezing, coughing and shortness of breath. [1]"
    with AnswerServer(said, key="secret") as server:
        _remote_home(small_home, server.url, server.url)
        medqa = program_in(small_home)
        model = {"MEDQA_ANSWER__GENERATOR": "auto", "MEDQA_REMOTE_KEY": "secret"}
        done = medqa(*ASK, QUESTION, **model)
        assert done.returncode in {0, 5}, done.stderr
        answer = json.loads(done.stdout)
        assert answer["model"]["base"] == "team/medical"
        assert answer["model"]["device"] == "server"
        (asked,) = server.asked
        assert asked["model"] == "team/medical"
        assert "secret" not in done.stdout + done.stderr

        # Where the server fails, the evidence speaks for itself, and that is said.
        server.status = 500
        done = medqa(*ASK, QUESTION, **model)
        assert done.returncode in {0, 5}, done.stderr
        assert json.loads(done.stdout)["model"]["base"] != "team/medical"
        count = len(server.asked)

        # Offline nothing is sent.
        done = medqa(*ASK, "--offline", QUESTION, **model)
        assert "Traceback" not in done.stderr
        assert len(server.asked) == count


def test_an_address_that_was_not_agreed_to_gets_nothing(small_home: Path) -> None:
    with AnswerServer("No.") as server:
        _remote_home(small_home, server.url, "http://127.0.0.1:9/v1")
        medqa = program_in(small_home)
        done = medqa(*ASK, QUESTION, MEDQA_ANSWER__GENERATOR="auto")
        assert "Traceback" not in done.stderr
        assert server.asked == []


def test_setup_of_remote_needs_a_server_and_a_yes(home: Path) -> None:
    medqa = program_in(home)
    done = medqa("setup", "--profile", "remote")
    assert done.returncode == 2
    assert "medqa-tui config set remote.url" in done.stderr
    medqa("config", "set", "remote.url", "http://127.0.0.1:9/v1")
    medqa("config", "set", "remote.model", "team/medical")
    done = medqa("setup", "--profile", "remote")
    assert done.returncode == 1
    assert "are sent to 127.0.0.1:9" in done.stderr
    assert "--yes" in done.stderr
    assert "confirmed" not in paths_of(home).config_file.read_text("utf-8")
