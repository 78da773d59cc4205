"""Making sure that something is installed, or saying what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.cli import diagnostics, interrupt
from medqa_tui.errors import ExitCode, MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths


def ensure_ready(paths: Paths, settings: Settings, *, allow_setup: bool) -> None:
    """Return once the profile is installed, installing it where that is allowed.

    Raises:
        UsageError: There is no such profile.
        NotSetUpError: It is not, and setup was not allowed.
        DownloadError: Something could not be fetched.
        MedQAError: Anything else that setup can meet.
        KeyboardInterrupt: Ctrl-C while it was being installed.
    """
    import threading

    from medqa_tui.cli.setup_display import SetupDisplay
    from medqa_tui.models.catalog import get_profile
    from medqa_tui.setup import runner
    from medqa_tui.setup.events import SetupOptions

    if runner.is_ready(paths, settings):
        return
    # Before anything is said of installing it.
    get_profile(settings.profile)
    if not allow_setup or settings.offline or not settings.setup.auto:
        runner.require_ready(paths, settings)
    runner.refuse_large(paths, settings)
    diagnostics.always(f"Setting up the profile {settings.profile}; this happens once.")
    cancel = threading.Event()
    options = SetupOptions(profile=settings.profile, yes=True)
    with SetupDisplay() as display, interrupt.first_calls(cancel.set):
        try:
            runner.run_setup(options, paths, settings, display.show, cancel)
        except MedQAError as error:
            # Ctrl-C reaches the children too, and may look like a failure of theirs.
            if cancel.is_set() and error.exit_code != ExitCode.INTERRUPTED:
                raise KeyboardInterrupt from error
            raise
