"""Setup from the first look to the activation; torch-free, since the heavy phases are children."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError, NotSetUpError
from medqa_tui.models.active import load_active
from medqa_tui.models.catalog import Conversion, Profile, Slot, get_profile
from medqa_tui.models.files import check_cancel, disk_error
from medqa_tui.models.install import remove_leftovers
from medqa_tui.models.records import installed_record
from medqa_tui.paths import Paths
from medqa_tui.setup import fetching, preflight
from medqa_tui.setup.child import Job, Message, WorkerKilledError, run_job
from medqa_tui.setup.converting import too_large_mark
from medqa_tui.setup.events import (
    OnEvent,
    Phase,
    PhaseState,
    SetupEvent,
    SetupOptions,
    SetupReport,
)
from medqa_tui.setup.lock import setup_lock
from medqa_tui.setup.plan import SetupPlan, Workplace, activation, given_up, make_plan
from medqa_tui.setup.ready import again_command, again_for, is_ready, require_ready, why_not
from medqa_tui.setup.telling import Meter, tell_of_wait

if TYPE_CHECKING:
    from medqa_tui.config.schema import Settings

__all__ = [
    "Phase",
    "PhaseState",
    "SetupEvent",
    "SetupOptions",
    "SetupReport",
    "is_ready",
    "require_ready",
    "run_setup",
]

_UNASKED = 1_000_000_000

TITLES = {
    Phase.PREFLIGHT: "Looking at this machine",
    Phase.DOWNLOAD: "Downloading the models",
    Phase.VERIFY: "Checking what was downloaded",
    Phase.QUANTIZE: "Quantizing the language model to 4 bits",
    Phase.INGEST: "Storing the starter corpus",
    Phase.INDEX: "Building the search index",
    Phase.SELF_TEST: "Asking a test question",
    Phase.ACTIVATE: "Putting it in use",
}


def refuse_large(paths: Paths, settings: Settings) -> None:
    """Raise if setting up the profile would fetch gigabytes, which nobody asked for yet.

    Raises:
        NotSetUpError: Says how much it is, and the command that asks for it.
    """
    profile = find_profile(settings.profile, paths)
    size = make_plan(profile, paths).download_bytes
    if size > _UNASKED:
        raise NotSetUpError(
            "This profile is not set up, and is too large to be fetched unasked.",
            f"{profile.name}: {size / 1e9:.1f} GB to download.",
            again_command(profile.name),
        )


def find_profile(name: str, paths: Paths, base: str = "") -> Profile:
    """Return the profile as it is to be set up: with `base`, or the base that it has by now.

    Raises:
        UsageError: There is no such profile, or it offers no such base.
    """
    profile = get_profile(name)
    if not base and profile.bases:
        try:
            before = load_active(paths, name)
        except MedQAError:
            before = None
        if before is not None and before.base in profile.bases:
            base = before.base
    return profile.with_base(base)


def run_setup(
    options: SetupOptions,
    paths: Paths,
    settings: Settings,
    on_event: OnEvent | None = None,
    cancel: threading.Event | None = None,
) -> SetupReport:
    """Install the profile, doing only what is not done yet.

    Killed at any point, what was in use before is in use still, and the next run goes on.

    Args:
        on_event: Called from this thread, as phases go on.
        cancel: Set it to stop; `Cancelled` is raised soon after.

    Raises:
        UsageError: There is no such profile.
        NotSetUpError: Something has to be fetched, and `offline` forbids it.
        DownloadError: Something could not be fetched, or is not what was asked for.
        Cancelled: `cancel` was set.
        MedQAError: Anything else, such as a full disk.
    """
    tell = on_event or _silent
    if options.source is not None:
        from medqa_tui.setup.folder import set_up_from

        return set_up_from(options, paths, settings, tell, cancel)
    profile = find_profile(options.profile or settings.profile, paths, options.base)
    offline = options.offline or settings.offline
    if profile.is_remote and not options.dry_run:
        from medqa_tui.generation.remote import require_remote

        require_remote(settings)
    plan = make_plan(profile, paths)
    if options.dry_run:
        found = () if plan.is_empty else preflight.look(plan, paths, offline)
        return _report(plan, paths, found, changed=False)
    if plan.is_empty and not Workplace.of(paths).root.exists():
        return _report(plan, paths, changed=False)
    _refuse_offline(plan, offline)

    with setup_lock(paths, partial(tell_of_wait, tell), cancel):
        remove_leftovers(paths.models)
        Workplace.of(paths).remove_leftovers()
        plan = make_plan(profile, paths)
        if plan.is_empty:
            shutil.rmtree(Workplace.of(paths).root, ignore_errors=True)
            return _report(plan, paths, changed=False)
        _refuse_offline(plan, offline)
        run = _Run(plan, paths, settings, offline=offline, tell=tell, cancel=cancel)
        run.all()
        return _report(plan, paths, run.findings, changed=True)


def _refuse_offline(plan: SetupPlan, offline: bool) -> None:
    if offline and plan.fetch:
        names = ", ".join(component.title for component in plan.fetch)
        raise NotSetUpError(
            "Models have to be downloaded, and --offline forbids it.",
            f"Missing: {names} ({plan.download_bytes / 1e6:.0f} MB).",
            f"{again_for(plan.profile)} (without --offline)",
        )


def _report(
    plan: SetupPlan, paths: Paths, found: tuple[preflight.Finding, ...] = (), *, changed: bool
) -> SetupReport:
    return SetupReport(
        plan=plan,
        changed=changed,
        ready=why_not(paths, plan.profile.name) is None,
        findings=tuple(finding.message for finding in found),
        warnings=tuple(finding.message for finding in found if finding.warn),
    )


def _silent(event: SetupEvent) -> None:
    del event


class _Run:
    """One run of the phases that the plan names; its caller holds the lock."""

    def __init__(
        self,
        plan: SetupPlan,
        paths: Paths,
        settings: Settings,
        *,
        offline: bool,
        tell: OnEvent,
        cancel: threading.Event | None,
    ) -> None:
        self.plan = plan
        self.paths = paths
        self.settings = settings
        self.offline = offline
        self.tell = tell
        self.cancel = cancel
        self.work = Workplace.of(paths)
        self.findings: tuple[preflight.Finding, ...] = ()

    def all(self) -> None:
        """Run every phase in order."""
        steps: dict[Phase, Callable[[], str]] = {
            Phase.PREFLIGHT: self._preflight,
            Phase.DOWNLOAD: self._download,
            Phase.VERIFY: self._verify,
            Phase.QUANTIZE: self._quantize,
            Phase.ACTIVATE: self._activate,
        }
        for phase in Phase:
            if phase not in self.plan.phases:
                self.tell(SetupEvent(phase, PhaseState.SKIPPED, "Already done."))
                continue
            self._phase(phase, steps.get(phase) or partial(self._child, phase))

    def _phase(self, phase: Phase, step: Callable[[], str]) -> None:
        check_cancel(self.cancel)
        self.tell(SetupEvent(phase, PhaseState.STARTED, TITLES[phase]))
        try:
            message = step()
        except (MedQAError, OSError) as error:
            said = error if isinstance(error, MedQAError) else disk_error(error, self.paths.data)
            said.hint = self._for_this_profile(said.hint)
            self.tell(SetupEvent(phase, PhaseState.FAILED, said.title))
            if said is error:
                raise
            raise said from error
        self.tell(SetupEvent(phase, PhaseState.DONE, message))

    def _for_this_profile(self, hint: str) -> str:
        """Let the command in a hint set up the profile in hand, which may not be the default."""
        return re.sub(r"medqa-tui setup(?! --)", again_for(self.plan.profile), hint)

    def _preflight(self) -> str:
        self.findings = preflight.look(self.plan, self.paths, self.offline)
        for finding in self.findings:
            self.tell(SetupEvent(Phase.PREFLIGHT, PhaseState.PROGRESS, finding.message))
        return "This machine can run it."

    def _download(self) -> str:
        meter = Meter(Phase.DOWNLOAD, self.plan.download_bytes, self.tell)
        again = again_for(self.plan.profile)
        for component in self.plan.fetch:
            fetching.fetch(component, self.paths, meter.report, self.cancel, again=again)
            meter.finish(component.source.size)
        return f"{self.plan.download_bytes / 1e6:.0f} MB downloaded."

    def _verify(self) -> str:
        waiting = [
            component
            for component in self.plan.install
            if component.slot is not Slot.ADAPTER
            and (component in self.plan.fetch or not fetching.is_verified(self.work, component))
        ]
        total = sum(fetching.verify_size(component) for component in waiting)
        meter = Meter(Phase.VERIFY, total, self.tell)
        for component in waiting:
            check_cancel(self.cancel)
            fetching.verify(component, self.paths, meter.report, self.cancel)
            meter.finish(fetching.verify_size(component))
        return "Every file is what it should be."

    def _quantize(self) -> str:
        try:
            return self._child(Phase.QUANTIZE)
        except WorkerKilledError:
            marks = [
                too_large_mark(self.paths, component)
                for component in self.plan.install
                if component.conversion is Conversion.DENSE_TO_NF4
            ]
            if not marks or all(mark.exists() for mark in marks):
                raise
            for mark in marks:
                mark.touch()
        # There was too little memory: the model is kept as it came, and quantized at each load.
        return self._child(Phase.QUANTIZE)

    def _child(self, phase: Phase) -> str:
        def on_progress(message: Message) -> None:
            keys = ("message", "done", "total", "unit")
            self.tell(SetupEvent(phase, PhaseState.PROGRESS, *(message[key] for key in keys)))

        engine = self.settings.engine
        profile = self.plan.profile
        base = profile.generator.id if profile.bases else ""
        job = Job(phase, profile.name, self.paths, engine.device, engine.threads, base)
        return run_job(job, on_progress, self.cancel)

    def _activate(self) -> str:
        profile = self.plan.profile
        active = activation(profile, self.paths)
        missing = [
            c.title for c in profile.components if not installed_record(c.home(self.paths), c)
        ]
        problems = [
            *(f"{title} is not installed." for title in missing),
            *active.problems(self.paths),
        ]
        if problems:
            raise MedQAError("Setup is not complete.", problems[0], again_for(profile))
        left = given_up(active, self.paths)
        active.write(self.paths)
        shutil.rmtree(self.work.root, ignore_errors=True)
        return f"{profile.title} is ready.{left}"
