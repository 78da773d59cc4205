"""Setup without its heavy phases: plan, dry run, offline, resume, lock, cancel; all for real."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from wheelhouse import EMBEDDER_FILES, make_profile, simple_index, use_index

from medqa_tui.config.schema import Settings
from medqa_tui.errors import DownloadError, ExitCode, MedQAError, NotSetUpError, UsageError
from medqa_tui.models import catalog
from medqa_tui.models.active import Active, load_active
from medqa_tui.models.catalog import Profile
from medqa_tui.models.files import Cancelled
from medqa_tui.models.records import installed_record
from medqa_tui.paths import Paths, get_paths
from medqa_tui.setup.child import Job, run_job
from medqa_tui.setup.events import Phase, PhaseState, SetupEvent
from medqa_tui.setup.lock import lock_file, setup_lock
from medqa_tui.setup.plan import Workplace, make_plan, store_file
from medqa_tui.setup.ready import again_command, is_ready, require_ready
from medqa_tui.setup.runner import SetupOptions, run_setup

TINY = Settings(profile="tiny")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    return get_paths()


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile of two tiny wheels, known to the catalogue and to a package index of ours."""
    tiny = make_profile(tmp_path / "wheels")
    use_index(monkeypatch, simple_index(tmp_path / "index", tmp_path / "wheels"))
    monkeypatch.setattr(catalog, "_read", lambda: {"tiny": tiny})
    return tiny


class Stop:
    """Collects events, and asks to stop when a phase starts."""

    def __init__(self, phase: Phase | None = None) -> None:
        self.phase = phase
        self.cancel = threading.Event()
        self.events: list[SetupEvent] = []

    def __call__(self, event: SetupEvent) -> None:
        self.events.append(event)
        if event.phase is self.phase and event.state is PhaseState.STARTED:
            self.cancel.set()

    def of(self, state: PhaseState) -> list[Phase]:
        return [event.phase for event in self.events if event.state is state]


def run_until(phase: Phase, paths: Paths) -> Stop:
    stop = Stop(phase)
    with pytest.raises(Cancelled) as caught:
        run_setup(SetupOptions(), paths, TINY, stop, stop.cancel)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert stop.events[-1].state is PhaseState.FAILED
    assert not is_ready(paths, TINY)
    assert load_active(paths) is None
    return stop


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_first_plan_names_every_phase(paths: Paths, profile: Profile) -> None:
    plan = make_plan(profile, paths)
    assert plan.phases == tuple(Phase)
    assert plan.fetch == profile.components
    assert plan.download_bytes == sum(c.source.size for c in profile.components)
    assert plan.data_bytes > 0
    assert plan.cache_bytes > plan.download_bytes


def test_a_dry_run_leaves_the_disk_alone(
    paths: Paths, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_CACHE_DIR")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    before = listing(tmp_path)
    report = run_setup(SetupOptions(dry_run=True), paths, TINY)
    assert listing(tmp_path) == before
    assert not report.changed
    assert not report.ready
    assert report.plan.fetch == profile.components
    assert any("package index answers" in finding for finding in report.findings)


def test_a_dry_run_says_when_the_index_is_out_of_reach(
    paths: Paths, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, (tmp_path / "nowhere").as_uri())
    report = run_setup(SetupOptions(dry_run=True), paths, TINY)
    assert any("did not answer" in warning for warning in report.warnings)


def test_offline_refuses_to_fetch_and_touches_nothing(paths: Paths, profile: Profile) -> None:
    with pytest.raises(NotSetUpError) as caught:
        run_setup(SetupOptions(offline=True), paths, TINY)
    assert caught.value.exit_code == ExitCode.NOT_SET_UP
    assert "tiny-embedder" in caught.value.detail
    assert not paths.data.exists()


def test_each_phase_is_done_once_across_interrupted_runs(paths: Paths, profile: Profile) -> None:
    work = Workplace.of(paths)
    first = run_until(Phase.VERIFY, paths)
    assert Phase.DOWNLOAD in first.of(PhaseState.DONE)
    assert all(work.wheel(component).is_file() for component in profile.components)

    second = run_until(Phase.QUANTIZE, paths)
    assert second.of(PhaseState.SKIPPED) == [Phase.DOWNLOAD]
    assert installed_record(paths.models, profile.embedder) is not None
    for name, data in EMBEDDER_FILES.items():
        assert (paths.models / profile.embedder.name / name).read_bytes() == data
    assert (work.members(profile.generator) / "tiny.gguf").is_file()
    # What is verified and in its place is not kept twice.
    assert list(work.wheels.iterdir()) == []

    third = run_until(Phase.QUANTIZE, paths)
    assert third.of(PhaseState.SKIPPED) == [Phase.DOWNLOAD, Phase.VERIFY]
    assert make_plan(profile, paths).fetch == ()


def test_what_is_fetched_already_needs_no_network(paths: Paths, profile: Profile) -> None:
    run_until(Phase.VERIFY, paths)
    stop = Stop(Phase.QUANTIZE)
    with pytest.raises(Cancelled):
        run_setup(SetupOptions(offline=True), paths, TINY, stop, stop.cancel)
    assert Phase.VERIFY in stop.of(PhaseState.DONE)


def test_a_damaged_wheel_is_said_and_fetched_again(paths: Paths, profile: Profile) -> None:
    run_until(Phase.VERIFY, paths)
    wheel = Workplace.of(paths).wheel(profile.generator)
    wheel.write_bytes(bytes(wheel.stat().st_size))
    stop = Stop()
    with pytest.raises(DownloadError, match="not the pinned one"):
        run_setup(SetupOptions(), paths, TINY, stop)
    assert stop.of(PhaseState.FAILED) == [Phase.VERIFY]
    assert load_active(paths) is None
    again = run_until(Phase.QUANTIZE, paths)
    assert again.of(PhaseState.DONE) == [Phase.PREFLIGHT, Phase.DOWNLOAD, Phase.VERIFY]


def test_a_failed_download_leaves_nothing_active(
    paths: Paths, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, (tmp_path / "nowhere").as_uri())
    stop = Stop()
    with pytest.raises(DownloadError):
        run_setup(SetupOptions(), paths, TINY, stop)
    assert stop.of(PhaseState.FAILED) == [Phase.DOWNLOAD]
    assert not is_ready(paths, TINY)


def test_a_phase_in_a_worker_reports_and_ends(paths: Paths, profile: Profile) -> None:
    job = Job(Phase.INGEST, "starter", paths, "auto", 0)
    seen: list[dict[str, object]] = []
    message = run_job(job, seen.append)
    assert "passages" in message
    assert seen[-1]["done"] == seen[-1]["total"]
    assert store_file(paths).is_file()
    assert list(paths.logs.iterdir()) == []
    assert Phase.INGEST not in make_plan(profile, paths).phases


def test_a_worker_that_fails_says_why(paths: Paths) -> None:
    store_file(paths).parent.mkdir(parents=True)
    store_file(paths).write_bytes(b"this is no database, however long one looks at it" * 100)
    with pytest.raises(MedQAError) as caught:
        run_job(Job(Phase.INGEST, "starter", paths, "auto", 0), lambda message: None)
    assert "damaged" in caught.value.title
    assert "corpora.db" in caught.value.detail
    (log,) = paths.logs.iterdir()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_worker_that_cannot_write_says_that_the_disk_is_full(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The worker inherits the limit; nothing else is written here while it holds.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(MedQAError) as caught:
            run_job(Job(Phase.INGEST, "starter", paths, "auto", 0), lambda message: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code in {ExitCode.FAILURE, ExitCode.DOWNLOAD}
    assert "disk" in f"{caught.value.title} {caught.value.detail} {caught.value.hint}"


def test_too_little_room_is_said_before_anything_is_fetched(
    paths: Paths, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    huge = replace(profile, generator=replace(profile.generator, installed_size=10**18))
    monkeypatch.setattr(catalog, "_read", lambda: {"tiny": huge})
    stop = Stop()
    with pytest.raises(MedQAError, match="not enough room"):
        run_setup(SetupOptions(), paths, TINY, stop)
    assert stop.of(PhaseState.FAILED) == [Phase.PREFLIGHT]
    assert not paths.cache.exists()


def test_a_second_setup_waits_and_says_so(paths: Paths) -> None:
    paths.data.mkdir(parents=True)
    waiting, entered = threading.Event(), threading.Event()

    def second() -> None:
        with setup_lock(paths, waiting.set):
            entered.set()

    thread = threading.Thread(target=second)
    with FileLock(lock_file(paths)):
        thread.start()
        assert waiting.wait(60)
        assert not entered.is_set()
    thread.join(60)
    assert entered.is_set()


def test_waiting_can_be_cancelled(paths: Paths, profile: Profile) -> None:
    paths.data.mkdir(parents=True)
    cancel = threading.Event()
    seen: list[SetupEvent] = []

    def on_event(event: SetupEvent) -> None:
        seen.append(event)
        cancel.set()

    with FileLock(lock_file(paths)), pytest.raises(Cancelled):
        run_setup(SetupOptions(), paths, TINY, on_event, cancel)
    assert [event.message for event in seen] == ["Another setup is running; waiting for it."]


def test_the_lock_file_is_private(paths: Paths) -> None:
    with setup_lock(paths, lambda: None):
        assert lock_file(paths).stat().st_mode & 0o077 == 0
    assert paths.data.stat().st_mode & 0o077 == 0


def test_leftovers_of_killed_runs_are_removed(paths: Paths, profile: Profile) -> None:
    left = paths.models / ".incoming-tiny-x"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"1")
    wheels = Workplace.of(paths).wheels
    (wheels / "pip-abc" / "tmp").mkdir(parents=True)
    run_until(Phase.VERIFY, paths)
    assert not left.exists()
    assert not (wheels / "pip-abc").exists()


def test_require_ready_names_the_command(paths: Paths) -> None:
    with pytest.raises(NotSetUpError) as caught:
        require_ready(paths, Settings())
    assert caught.value.exit_code == ExitCode.NOT_SET_UP
    assert caught.value.hint == "medqa-tui setup"
    with pytest.raises(UsageError):
        require_ready(paths, Settings(profile="startr"))


def test_the_command_names_the_profile_where_another_one_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path))
    assert again_command("starter") == "medqa-tui setup"
    assert again_command("flashcards") == "medqa-tui setup --profile flashcards"
    monkeypatch.setenv("MEDQA_PROFILE", "flashcards")
    assert again_command("starter") == "medqa-tui setup --profile starter"
    # What cannot be read says nothing of what a plain setup would do.
    monkeypatch.setenv("MEDQA_RETRIEVAL__K", "many")
    assert again_command("starter") == "medqa-tui setup --profile starter"


Damage = Callable[[Paths], object]


@pytest.mark.parametrize(
    "damage",
    [
        lambda paths: paths.active_file.write_text("{", encoding="utf-8"),
        lambda paths: store_file(paths).unlink(),
        lambda paths: shutil.rmtree(paths.models),
        lambda paths: shutil.rmtree(paths.indexes),
    ],
    ids=["active", "store", "models", "index"],
)
def test_naming_something_active_is_not_enough(
    paths: Paths, profile: Profile, damage: Damage
) -> None:
    Active.of_profile(profile).write(paths)
    for folder in (paths.models, paths.indexes, paths.corpora):
        folder.mkdir()
    store_file(paths).touch()
    damage(paths)
    assert not is_ready(paths, TINY)


def test_another_profile_in_use_is_not_this_one(paths: Paths, profile: Profile) -> None:
    Active.of_profile(profile).write(paths)
    assert not is_ready(paths, Settings(profile="starter"))


def test_the_parts_of_setup_load_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, medqa_tui.setup.runner, medqa_tui.setup.worker, medqa_tui.cli.setup\n"
        "from medqa_tui.config.schema import Settings\n"
        "from medqa_tui.paths import get_paths\n"
        "medqa_tui.setup.runner.is_ready(get_paths(), Settings())\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'hnswlib', 'bitsandbytes'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
