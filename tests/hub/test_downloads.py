"""Downloads from a hub on the loopback address: whole, broken in every way, and gone on with."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.errors import DownloadError, ExitCode
from medqa_tui.models.catalog import HubSource
from medqa_tui.models.files import Cancelled
from medqa_tui.models.hub import Transfer

from .conftest import write_model
from .downloading import ALLOW, FIRST, QUICK, SOURCE, fetch, kept_of, refused, refused_once, same
from .loopback import TOKEN, Fault, LoopbackHub
from .repositories import pointer_text


def test_a_download_is_whole_pinned_and_quiet(hub: LoopbackHub, tmp_path: Path) -> None:
    commit = hub.add("maker/model", tmp_path / "served")
    seen: list[Transfer] = []
    found = fetch(tmp_path / "into", on_progress=seen.append)
    assert found.revision == commit
    assert same(tmp_path / "into", tmp_path / "served")
    assert {file.path for file in found.files} == {p.name for p in (tmp_path / "served").iterdir()}
    assert seen[-1].done == seen[-1].total == found.size
    assert any(step.file.endswith(".safetensors") and step.file_total for step in seen)
    # One question for the commit, one for the list, one for each file; what else is nobody's.
    assert len(hub.requests) == 2 + len(found.files)
    assert all("torch" not in each.agent for each in hub.requests)
    # Once there, it is asked for no more.
    assert fetch(tmp_path / "into") == found
    assert len(hub.requests) == 2 + len(found.files)


def test_the_commit_of_an_interrupted_download_is_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    first = hub.add("maker/model", tmp_path / "served")
    hub.fail("*.safetensors", Fault.answer(403))
    refused(tmp_path / "into")
    hub.heal()
    hub.add("maker/model", write_model(tmp_path / "newer", seed=1))
    assert fetch(tmp_path / "into").revision == first
    assert same(tmp_path / "into", tmp_path / "served")


def test_a_commit_can_be_asked_for(hub: LoopbackHub, tmp_path: Path) -> None:
    first = hub.add("maker/model", tmp_path / "served")
    hub.add("maker/model", write_model(tmp_path / "newer", seed=1))
    found = fetch(tmp_path / "into", replace(SOURCE, revision=first))
    assert found.revision == first
    assert same(tmp_path / "into", tmp_path / "served")


@pytest.mark.parametrize("fault", [Fault.cut(0.5), Fault.reset(0.5)], ids=["cut", "reset"])
def test_a_cut_connection_goes_on_where_it_was(
    hub: LoopbackHub, tmp_path: Path, fault: Fault
) -> None:
    hub.fail(FIRST, fault)
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")
    asked = hub.asked(FIRST)
    assert len(asked) == 2
    if fault.kind.value == "cut":
        assert asked[1].start > 0


def test_a_download_that_broke_off_goes_on_in_the_next_run(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.fail(FIRST, Fault.cut(0.5, times=1))
    hub.fail(FIRST, Fault.cut(0.0, times=0))
    said = refused(tmp_path / "into")
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "broke off" in said.title
    assert "goes on" in said.hint
    hub.heal()
    kept, before = kept_of(tmp_path), len(hub.requests)
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")
    again = {each.path.rpartition("/")[2]: each for each in hub.requests[before:]}
    # Only what was missing is asked for: no listing, no whole file, and a range of this one. How
    # far the others had come, which are fetched beside it, is what lay on the disk.
    served = {path.name: path.stat().st_size for path in (tmp_path / "served").iterdir()}
    assert set(again) == {name for name, size in served.items() if kept[name] < size}
    first = FIRST.rpartition("/")[2]
    assert again[first].start == kept[first] > 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.wrong_bytes(), "not what the hub promised"),
        (Fault.pointer(), "pointer"),
        (Fault.truncated(), "incomplete"),
    ],
    ids=["wrong bytes", "pointer", "truncated"],
)
def test_what_is_not_the_file_is_refused(
    hub: LoopbackHub, tmp_path: Path, fault: Fault, words: str
) -> None:
    said = refused_once(hub, tmp_path, FIRST, fault)
    assert words in said.title
    assert "model-00001" in said.detail


def test_a_small_file_is_verified_as_well(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail("*/config.json", Fault.wrong_bytes())
    assert "git hash" in refused(tmp_path / "into").detail


def test_a_part_that_went_bad_on_the_disk_is_fetched_anew(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail(FIRST, Fault.cut(0.5, times=1))
    hub.fail(FIRST, Fault.answer(403))
    refused(tmp_path / "into")
    for part in (tmp_path / ".into.partial" / "parts").iterdir():
        part.write_bytes(bytes(part.stat().st_size))
    hub.heal()
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_a_repository_that_holds_a_pointer_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    broken = write_model(tmp_path / "broken")
    (broken / "model-00002-of-00002.safetensors").write_bytes(pointer_text("0" * 64, 9))
    hub.add("maker/broken", broken)
    assert "pointer" in refused(tmp_path / "into", replace(SOURCE, repo="maker/broken")).title


def test_a_repository_of_cut_weights_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    broken = write_model(tmp_path / "broken")
    weights = broken / "model-00002-of-00002.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    hub.add("maker/broken", broken)
    said = refused(tmp_path / "into", replace(SOURCE, repo="maker/broken"))
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "safetensors" in said.title


def test_pickled_weights_are_never_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    (old / "config.json").write_text("{}", encoding="utf-8")
    hub.add("maker/old", old)
    said = refused(tmp_path / "into", HubSource("maker/old", allow=("*",)))
    assert "run code" in said.title
    assert hub.asked("*.bin") == []


def test_what_is_not_asked_for_stays_there(hub: LoopbackHub, tmp_path: Path) -> None:
    served = tmp_path / "served"
    (served / "onnx").mkdir()
    (served / "onnx" / "other.safetensors").write_bytes(b"x")
    (served / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    (served / "pytorch_model.bin").write_bytes(pickle.dumps(1))
    hub.add("maker/model", served)
    found = fetch(tmp_path / "into", replace(SOURCE, allow=("*",)))
    assert {file.path for file in found.files} == {
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "tokenizer.json",
    }


@pytest.mark.parametrize(
    ("pattern", "fault", "words"),
    [
        (
            "*/revision/*",
            Fault.answer(404, X_Error_Code="RepoNotFound"),
            "does not have this model",
        ),
        ("*/revision/*", Fault.answer(404, X_Error_Code="RevisionNotFound"), "revision"),
        (FIRST, Fault.answer(404, X_Error_Code="EntryNotFound"), "file is missing"),
        (FIRST, Fault.answer(403), "refused"),
        ("*/tree/*", Fault.answer(429, Retry_After="900"), "asks to wait"),
        (FIRST, Fault.answer(429), "asks to wait"),
        (FIRST, Fault.answer(500), "fault of its own"),
        ("*/revision/*", Fault.answer(503), "fault of its own"),
    ],
    ids=["repo", "revision", "file", "403", "429 long", "429", "500", "503"],
)
def test_each_refusal_is_one_sentence(
    hub: LoopbackHub, tmp_path: Path, pattern: str, fault: Fault, words: str
) -> None:
    said = refused_once(hub, tmp_path, pattern, fault)
    assert words in said.title
    assert "maker/model" in said.detail


def test_an_unknown_repository_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    said = refused(tmp_path / "into", HubSource("maker/nothing"))
    assert "does not have this model" in said.title
    assert "maker/nothing" in said.detail


def test_an_id_that_cannot_be_one_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    assert "maker/../x" in refused(tmp_path / "into", HubSource("maker/../x")).detail


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_waited_out(hub: LoopbackHub, tmp_path: Path, status: int) -> None:
    hub.fail("*/tree/*", Fault.answer(status, times=2, Retry_After="0"))
    hub.fail(FIRST, Fault.answer(status, times=2))
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_a_slow_hub_is_only_slow(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail("*", Fault.trickle())
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_a_hub_that_falls_silent_is_given_up(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail(FIRST, Fault.hold(0.5, times=0))
    said = refused(tmp_path / "into", patience=replace(QUICK, retries=0, timeout=0.3))
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "goes on" in said.hint


def test_a_gated_model_says_how_to_get_in(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("maker/model", tmp_path / "served", gated=True)
    said = refused(tmp_path / "into")
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "accept its licence" in said.title
    assert f"{hub.url}/maker/model" in said.hint
    assert "hf auth login" in said.hint
    for name, value in hub.environment(tmp_path / "hf", token=TOKEN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    said = refused(tmp_path / "into")
    assert "not been given access" in said.title
    hub.accept("maker/model")
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_no_network_is_said_with_the_ways_around_it(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.stop()
    said = refused(tmp_path / "into")
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "cannot be reached" in said.title
    assert "--from" in said.hint


def test_the_offline_switch_of_the_hub_is_honoured(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused(tmp_path / "into")
    assert said.exit_code == ExitCode.DOWNLOAD
    assert "HF_HUB_OFFLINE" in said.title
    assert hub.requests == []


def test_a_full_disk_is_said_and_the_next_run_completes(hub: LoopbackHub, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The child inherits the limit; nothing else is written here while it holds.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        said = refused(tmp_path / "into")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.exit_code == ExitCode.FAILURE
    assert said.title == "The disk is full."
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_a_really_full_disk(hub: LoopbackHub, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    try:
        said = refused(small / "into")
        assert said.title == "The disk is full."
        assert said.exit_code == ExitCode.FAILURE
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        fetch(small / "into")
        assert same(small / "into", tmp_path / "served")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_cancel_stops_at_once_and_the_next_run_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail(FIRST, Fault.hold(0.5))
    cancel = threading.Event()

    def stop() -> None:
        assert hub.holding.wait(60)
        cancel.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Cancelled):
        fetch(tmp_path / "into", cancel=cancel)
    stopper.join()
    assert not (tmp_path / "into").exists()
    fetch(tmp_path / "into")
    assert same(tmp_path / "into", tmp_path / "served")


def test_kill_9_in_the_middle_leaves_what_the_next_run_needs(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.fail(FIRST, Fault.hold(0.5))
    code = (
        "import sys; from pathlib import Path; from medqa_tui.models.catalog import HubSource; "
        "from medqa_tui.models.hub import download_snapshot; "
        f"download_snapshot(HubSource('maker/model', allow={ALLOW!r}), Path(sys.argv[1]))"
    )
    into = tmp_path / "into"
    process = subprocess.Popen([sys.executable, "-c", code, str(into)])
    assert hub.holding.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not into.exists()
    hub.release.set()
    fetch(into)
    assert same(into, tmp_path / "served")


def test_a_data_set_comes_the_same_way(hub: LoopbackHub, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    hub.add("maker/rows", rows, kind="dataset")
    fetch(tmp_path / "into", HubSource("maker/rows", kind="dataset", allow=("*.jsonl",)))
    assert same(tmp_path / "into", rows)


def test_a_download_error_is_one_of_ours(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail(FIRST, Fault.answer(404, X_Error_Code="EntryNotFound"))
    assert isinstance(refused(tmp_path / "into"), DownloadError)
