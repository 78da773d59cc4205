"""`python -m medqa_tui` and the console script: the only place that knows both front ends."""

from __future__ import annotations


def main() -> None:
    """Run the command line; without a command it opens the full-screen app."""
    try:
        from medqa_tui.cli.main import run

        run(open_app=_open_app)
    except KeyboardInterrupt:
        # Ctrl-C outside of any command: while modules are imported, or on the way out.
        raise SystemExit(130) from None


def _open_app(profile: str | None = None, in_process: bool = False) -> int:
    # Deferred: Textual costs 0.2 s, and most commands never draw.
    from medqa_tui.tui.app import run_app

    return run_app(profile=profile, in_process=in_process)


if __name__ == "__main__":
    main()
