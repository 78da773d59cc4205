"""The doctor: on a machine that is not set up, on a damaged one, and through a native crash."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from medqa_tui.config import Settings
from medqa_tui.config.schema import EngineSettings, HistorySettings
from medqa_tui.doctor import checks, installed, libraries, machine, services
from medqa_tui.doctor.report import Check, CheckStatus
from medqa_tui.doctor.trial import Outcome, try_out
from medqa_tui.domain import Question, Triage
from medqa_tui.errors import UsageError
from medqa_tui.history.store import HistoryStore
from medqa_tui.models.active import Active
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.records import InstallRecord
from medqa_tui.paths import Paths, ensure

TORCH = {"version": "2.9.0", "cuda": "12.8", "threads": 4}
CPU_TORCH = {"version": "2.9.0+cpu", "cuda": None, "threads": 4}
NF4 = {"version": "0.50.2", "error": 0.09}
NO_GPU = {"gpu": None, "gpu_4bit": False, "memory": None}
GPU = {"gpu": "NVIDIA H200", "gpu_4bit": True, "memory": 150_000_000_000}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(*(tmp_path / name for name in ("config", "data", "cache", "state", "run")))


def _crashing(folder: Path, body: str) -> str:
    (folder / "crashing_trial.py").write_text(
        "import json, os, sys\n"
        "def tell(**row): os.write(1, json.dumps(row).encode() + b'\\n')\n" + body
    )
    return "crashing_trial"


def _on_device(outcome: Outcome, device: str = "auto") -> Check:
    return libraries.check_device(outcome, Settings(engine=EngineSettings(device=device)))


def test_the_trials_really_run_here() -> None:
    before = set(sys.modules)
    outcome = try_out()
    assert libraries.check_torch(outcome).status is CheckStatus.OK
    assert libraries.check_bitsandbytes(outcome).status is CheckStatus.OK
    assert 0.05 < outcome.get("nf4-cpu")["error"] < 0.15
    assert outcome.failure("host") is None
    assert not {"torch", "bitsandbytes"} & (set(sys.modules) - before)


def test_a_native_crash_in_a_trial_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module = _crashing(
        tmp_path,
        "tell(part='torch', started=True)\n"
        "tell(part='torch', version='1', cuda=None, threads=1)\n"
        "tell(part='host', gpu=None, gpu_4bit=False, memory=None)\n"
        "tell(part='nf4-cpu', started=True)\n"
        "os.abort()\n",
    )
    outcome = try_out(module)
    assert libraries.check_torch(outcome).status is CheckStatus.OK
    broken = libraries.check_bitsandbytes(outcome)
    assert broken.status is CheckStatus.FAIL
    assert "SIGABRT" in broken.detail
    assert "install" in broken.fix
    assert outcome.failure("nf4-cuda") == "an earlier trial ended its process"


def test_a_trial_that_says_nothing_fails_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = try_out(_crashing(tmp_path, "sys.exit(3)\n"))
    torch = libraries.check_torch(outcome)
    assert torch.status is CheckStatus.FAIL
    assert "code 3" in torch.detail
    assert _on_device(outcome).status is CheckStatus.FAIL
    assert libraries.check_cuda(outcome).status is CheckStatus.WARN


def test_the_trials_get_an_environment_that_stays_off_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module = _crashing(
        tmp_path,
        "tell(part='torch', version=os.environ['HF_HUB_OFFLINE'], cuda=None, threads=1)\n",
    )
    assert try_out(module).get("torch")["version"] == "1"


def test_the_device_is_explained() -> None:
    gpu = Outcome({"torch": TORCH, "host": GPU, "nf4-cpu": NF4, "nf4-cuda": NF4})
    assert _on_device(gpu).detail.startswith("4-bit weights on NVIDIA H200")
    assert "16-bit weights on NVIDIA H200, then 4-bit weights on the CPU" in _on_device(gpu).detail
    assert "The CPU was asked for." in _on_device(gpu, "cpu").detail
    cpu = Outcome({"torch": CPU_TORCH, "host": NO_GPU, "nf4-cpu": NF4})
    assert "No GPU found; answering on the CPU will be slower." in _on_device(cpu).detail
    forced = _on_device(cpu, "cuda")
    assert forced.status is CheckStatus.WARN
    assert forced.fix == "medqa-tui config set engine.device auto"


def test_a_gpu_on_which_4_bit_weights_fail_is_a_warning() -> None:
    failed = {"failed": "RuntimeError: no kernel image"}
    outcome = Outcome({"torch": TORCH, "host": GPU, "nf4-cpu": NF4, "nf4-cuda": failed})
    found = libraries.check_cuda(outcome)
    assert found.status is CheckStatus.WARN
    assert "no kernel image" in found.detail
    fine = Outcome({"torch": TORCH, "host": GPU, "nf4-cpu": NF4, "nf4-cuda": NF4})
    assert libraries.check_cuda(fine).detail == "NVIDIA H200 with 150 GB; 4-bit weights work on it."


def test_a_driver_without_a_torch_for_it_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for_cpu = libraries.check_cuda(Outcome({"torch": CPU_TORCH, "host": NO_GPU}))
    assert for_cpu.status is CheckStatus.WARN
    assert "build for the CPU" in for_cpu.detail
    no_gpu = libraries.check_cuda(Outcome({"torch": TORCH, "host": NO_GPU}))
    assert "finds no GPU" in no_gpu.detail
    monkeypatch.setenv("PATH", "")
    assert libraries.check_cuda(Outcome({"torch": TORCH, "host": NO_GPU})).status is CheckStatus.OK


def test_python_libraries_pip_and_hnswlib_are_fine_here() -> None:
    for check in (
        libraries.check_python(),
        libraries.check_libraries(),
        libraries.check_pip(),
        libraries.check_hnswlib(),
    ):
        assert check.status is CheckStatus.OK, check
        assert not check.fix


def test_a_machine_that_is_not_set_up_is_told_what_to_type(paths: Paths) -> None:
    settings = Settings()
    for check in (
        installed.check_models(paths, settings),
        installed.check_corpora(paths),
        installed.check_index(paths, settings),
    ):
        assert (check.status, check.fix) == (CheckStatus.FAIL, "medqa-tui setup")
    for check in (
        services.check_engine(paths, settings),
        services.check_history(paths, settings),
        machine.check_disk(paths, settings),
        machine.check_permissions(paths),
    ):
        assert check.status is CheckStatus.OK, check
    assert not any(folder.exists() for folder in (paths.data, paths.config, paths.run))


def _install(paths: Paths) -> Active:
    profile = get_profile("starter")
    active = Active.of_profile(profile)
    for component in profile.components:
        folder = paths.models / component.name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        InstallRecord.of_folder(folder, component).write(folder)
    active.write(paths)
    return active


def test_installed_models_are_compared_with_their_records(paths: Paths) -> None:
    active = _install(paths)
    settings = Settings()
    assert installed.check_models(paths, settings).status is CheckStatus.OK
    file = active.generator_dir(paths) / "model.safetensors"
    file.write_bytes(b"changed")
    assert installed.check_models(paths, settings).status is CheckStatus.OK
    file.unlink()
    assert "is missing" in installed.check_models(paths, settings).detail
    index = installed.check_index(paths, settings)
    assert (index.status, index.fix) == (CheckStatus.FAIL, "medqa-tui index build")


def test_an_error_in_one_check_does_not_stop_the_others(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(paths.data)
    paths.active_file.write_text("not JSON")
    monkeypatch.setattr(checks, "_outcome", lambda: Outcome({"torch": {"failed": "left out"}}))
    said: list[str] = []
    found = {check.name: check for check in checks.run(paths, Settings(), on_start=said.append)}
    assert len(found) == 16
    assert len(said) == 17
    models = found["models"]
    assert models.status is CheckStatus.FAIL
    assert str(paths.active_file) in models.detail
    assert "medqa-tui setup" in models.fix
    assert found["history"].status is CheckStatus.OK


def test_an_unforeseen_error_is_a_finding() -> None:
    def step() -> Check:
        raise ZeroDivisionError("what was it")

    found = checks._guarded("thing", step)
    assert found.status is CheckStatus.FAIL
    assert "ZeroDivisionError: what was it" in found.detail


def test_an_unknown_profile_is_a_finding(paths: Paths) -> None:
    with pytest.raises(UsageError):
        installed.check_models(paths, Settings(profile="starters"))


def test_history_is_read_and_not_changed(paths: Paths) -> None:
    store = HistoryStore(paths.history_db)
    store.recorder("s").begin(Question("Why?", "t"), Triage())
    store.close()
    before = paths.history_db.read_bytes()
    found = services.check_history(paths, Settings())
    assert found.status is CheckStatus.OK
    assert found.detail.startswith("1 questions are kept")
    off = Settings(history=HistorySettings(enabled=False))
    assert "Nothing new is" in services.check_history(paths, off).detail
    assert paths.history_db.read_bytes() == before
    paths.history_db.write_bytes(b"garbage" * 1000)
    damaged = services.check_history(paths, Settings())
    assert damaged.status is CheckStatus.WARN
    assert paths.history_db.exists()
    HistoryStore(paths.history_db).list()
    kept = services.check_history(paths, Settings())
    assert kept.status is CheckStatus.WARN
    assert "history purge" in kept.fix


def test_a_history_that_is_being_written_is_no_damage(paths: Paths) -> None:
    store = HistoryStore(paths.history_db)
    store.recorder("s").begin(Question("Why?", "t"), Triage())
    connection = sqlite3.connect(paths.history_db)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        assert services.check_history(paths, Settings()).status is CheckStatus.OK
    finally:
        connection.close()


def test_a_wrong_keep_alive_is_found(paths: Paths) -> None:
    with pytest.raises(UsageError, match="keep_alive"):
        services.check_engine(paths, Settings(engine=EngineSettings(keep_alive="soon")))
    off = Settings(engine=EngineSettings(enabled=False))
    assert "Turned off" in services.check_engine(paths, off).detail


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_that_others_may_read_are_found(paths: Paths) -> None:
    ensure(paths.data)
    paths.history_db.write_bytes(b"")
    paths.history_db.chmod(0o644)
    found = machine.check_permissions(paths)
    assert found.status is CheckStatus.WARN
    assert found.fix == f'chmod go-rwx "{paths.history_db}"'
    paths.history_db.chmod(0o600)
    paths.data.chmod(0o755)
    assert machine.check_permissions(paths).fix == f'chmod go-rwx "{paths.data}"'


def test_a_file_in_the_way_of_a_folder_is_found(paths: Paths) -> None:
    paths.data.parent.mkdir(exist_ok=True)
    paths.data.write_text("in the way")
    found = machine.check_permissions(paths)
    assert found.status is CheckStatus.FAIL
    assert str(paths.data) in found.detail
