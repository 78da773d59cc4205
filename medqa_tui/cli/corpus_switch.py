"""`corpus on` and `corpus off`: which corpora are searched with the profile in use."""

from __future__ import annotations

from typing import Annotated

import typer

from medqa_tui.cli import corpus_work, diagnostics, options, output
from medqa_tui.errors import ExitCode, UsageError

_KEY = "retrieval.corpora"
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The corpus.")]


def on(ctx: typer.Context, name: _Name) -> int:
    """Search a corpus again with the profile in use."""
    return _switch(ctx, name, on=True)


def off(ctx: typer.Context, name: _Name) -> int:
    """Leave a corpus out of searches with the profile in use; it stays stored and indexed."""
    return _switch(ctx, name, on=False)


def _switch(ctx: typer.Context, name: str, *, on: bool) -> int:
    from medqa_tui.config import load_settings
    from medqa_tui.config.write import set_value

    overrides = options.current(ctx).overrides()
    settings = load_settings(overrides)
    profile, retrieval = settings.profile, settings.retrieval
    # A corpus that was removed may still be named in the setting, and is let go here.
    stored = corpus_work.all_names()
    corpus_work.require(name)
    before = [each for each in stored if each in (retrieval.corpora_of(profile) or stored)]
    after = [each for each in stored if (on if each == name else each in before)]
    if not after:
        raise UsageError(
            "Nothing would be left to search.",
            f"{name} is the only corpus that is switched on for {profile}.",
            "medqa-tui corpus on NAME, for another one first",
        )
    # All of them stays all of them when one more is added.
    wanted = () if after == stored else tuple(after)
    set_value(_KEY, retrieval.with_corpora(profile, wanted))
    if load_settings(overrides).retrieval.corpora_of(profile) != wanted:
        diagnostics.warn(f"Another setting outranks it. To see which: medqa-tui config get {_KEY}")
    diagnostics.note(f"Searched with the profile {profile}: {', '.join(after)}.")
    if options.current(ctx).json:
        output.emit_record({"profile": profile, "on": after})
    return ExitCode.OK
