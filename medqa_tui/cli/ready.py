"""Making sure that something is installed, or saying what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.cli import diagnostics, interrupt

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths


def ensure_ready(paths: Paths, settings: Settings, *, allow_setup: bool) -> None:
    """Return once the profile is installed, installing it where that is allowed.

    Raises:
        NotSetUpError: It is not, and setup was not allowed.
        DownloadError: Something could not be fetched.
        KeyboardInterrupt: Ctrl-C while it was being installed.
    """
    import threading

    from medqa_tui.cli.setup_display import SetupDisplay
    from medqa_tui.setup import runner
    from medqa_tui.setup.events import SetupOptions

    if runner.is_ready(paths, settings):
        return
    if not allow_setup or settings.offline or not settings.setup.auto:
        runner.require_ready(paths, settings)
    diagnostics.always(f"Setting up the profile {settings.profile}; this happens once.")
    cancel = threading.Event()
    options = SetupOptions(profile=settings.profile, yes=True)
    with SetupDisplay() as display, interrupt.first_calls(cancel.set):
        runner.run_setup(options, paths, settings, display.show, cancel)
    if cancel.is_set():
        raise KeyboardInterrupt
