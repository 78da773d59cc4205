"""Setup from a folder that another machine exported: nothing is fetched."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.models.active import Active, load_active
from medqa_tui.models.bundle import Bundle, install_bundle, read_bundle
from medqa_tui.models.catalog import get_profile
from medqa_tui.models.install import remove_leftovers
from medqa_tui.paths import Paths, ensure
from medqa_tui.setup.events import (
    OnEvent,
    Phase,
    PhaseState,
    SetupEvent,
    SetupOptions,
    SetupReport,
)
from medqa_tui.setup.lock import setup_lock
from medqa_tui.setup.plan import make_plan
from medqa_tui.setup.telling import Meter, tell_of_wait

if TYPE_CHECKING:
    from medqa_tui.config.schema import Settings


def set_up_from(
    options: SetupOptions,
    paths: Paths,
    settings: Settings,
    tell: OnEvent,
    cancel: threading.Event | None,
) -> SetupReport:
    """Install the models of the bundle in `options.source`, then set up as without a network.

    Raises:
        UsageError: It is no bundle, or of a profile that this version does not know.
        MedQAError: A file of it is missing or changed, or the disk is full.
        Cancelled: `cancel` was set.
    """
    from medqa_tui.setup.runner import run_setup

    bundle = read_bundle((options.source or Path()).expanduser().absolute())
    if options.dry_run:
        return _outlook(bundle, paths)
    _install(bundle, paths, tell, cancel)
    rest = replace(
        options, source=None, profile=bundle.profile, base=bundle.active.base, offline=True
    )
    report = run_setup(rest, paths, settings, tell, cancel)
    _take_adapter(bundle.active, paths)
    return replace(report, changed=True)


def _install(bundle: Bundle, paths: Paths, tell: OnEvent, cancel: threading.Event | None) -> None:
    from medqa_tui.models import adapters

    meter = Meter(Phase.DOWNLOAD, bundle.size, tell)

    def on_progress(done: int, total: int) -> None:
        meter.report(done, "Copying the models")

    with setup_lock(paths, partial(tell_of_wait, tell), cancel), adapters.lock(paths, cancel):
        remove_leftovers(paths.models)
        message = f"Copying the models from {bundle.folder}"
        tell(SetupEvent(Phase.DOWNLOAD, PhaseState.STARTED, message))
        ensure(paths.models)
        install_bundle(bundle, paths, on_progress, cancel)
        size = f"{bundle.size / 1e6:.0f} MB copied."
        tell(SetupEvent(Phase.DOWNLOAD, PhaseState.DONE, size))


def _take_adapter(wanted: Active, paths: Paths) -> None:
    """Let the profile use the adapter, and the trained re-ranker, of the other machine."""
    from medqa_tui.models import adapters

    active = load_active(paths, wanted.profile)
    if active is None:
        return
    if active.adapter != wanted.adapter:
        # Whoever made the bundle had it in use, whatever comparing it had shown.
        adapters.use(paths, wanted.profile, wanted.adapter, force=True)
    trained = wanted.reranker is not None and (paths.adapters / wanted.reranker).is_dir()
    if trained and active.reranker != wanted.reranker:
        adapters.use(paths, wanted.profile, wanted.reranker)


def _outlook(bundle: Bundle, paths: Paths) -> SetupReport:
    profile = get_profile(bundle.profile, bundle.active.base)
    plan = replace(make_plan(profile, paths), fetch=())
    found = f"{bundle.folder} holds {profile.name}: {bundle.size / 1e6:.0f} MB to copy."
    return SetupReport(plan=plan, changed=False, ready=plan.is_empty, findings=(found,))
