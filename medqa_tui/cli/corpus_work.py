"""What the commands that change a corpus share: the lock, progress, the index after."""

from __future__ import annotations

import re
import shlex
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medqa_tui.cli import diagnostics, interrupt, options
from medqa_tui.errors import NotSetUpError, UsageError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.corpus.indexing import Indexed
    from medqa_tui.corpus.library import CorpusLibrary, Outcome
    from medqa_tui.corpus.record import CorpusInfo
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.paths import Paths
    from medqa_tui.setup.child import Message

_NOT_IN_NAME = re.compile(r"[^a-z0-9._-]+")


def place(name: str, path: Path | None) -> tuple[str, Path | None]:
    """Return the name of a corpus and where it is read from; a path alone gives its name too.

    Raises:
        UsageError: The name is no data set that is known, and there is no path.
    """
    from medqa_tui.corpus.sources import BUILTINS

    if path is not None:
        return name, path.expanduser().absolute()
    if name in BUILTINS:
        return name, None
    given = Path(name).expanduser()
    if given.exists():
        stem = given.name.removesuffix(".gz").partition(".")[0].lower()
        return _NOT_IN_NAME.sub("-", stem).strip("-._") or "mine", given.absolute()
    raise UsageError(
        "There is no such data set, file or folder:",
        f"{name}. By name there are: {', '.join(BUILTINS)}.",
        f"medqa-tui corpus add {name} --from PATH",
    )


def known_format(name: str | None) -> str | None:
    """Return `name` if there is such a format.

    Raises:
        UsageError: There is not.
    """
    from medqa_tui.corpus.readers.registry import FORMATS

    if name is None or name in FORMATS:
        return name
    raise UsageError(
        "There is no such format:", f"{name}. There are: {', '.join(FORMATS)}.", "Choose one."
    )


def known_date(date: str | None) -> str | None:
    """Return a date in its ISO form.

    Raises:
        UsageError: It is no date.
    """
    from medqa_tui.corpus.columns import iso_date

    if date is None or (found := iso_date(date)):
        return found if date else None
    raise UsageError("This is no date:", f"{date}.", "Write it as 2026-01-31, 2026-01 or 2026.")


@contextmanager
def library(ctx: typer.Context, label: str) -> Iterator[CorpusLibrary]:
    """Yield what changes corpora, with the lock held and progress shown; Ctrl-C cancels."""
    from medqa_tui.config import load_settings
    from medqa_tui.corpus.library import CorpusLibrary
    from medqa_tui.models.files import disk_error
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.lock import setup_lock

    paths, cancel = get_paths(), threading.Event()
    settings = load_settings(options.current(ctx).overrides())
    with diagnostics.progress(label) as bar:

        def fetching(done: int, total: int) -> None:
            bar.update(done, total or None, "Fetching", "bytes")

        def reading(done: int, total: int) -> None:
            bar.update(done, total or None, label, "passages")

        try:
            with interrupt.first_calls(cancel.set), setup_lock(paths, _on_wait, cancel):
                library = CorpusLibrary(paths, reading, fetching, cancel, offline=settings.offline)
                yield library
        except OSError as error:
            raise disk_error(error, paths.data, shlex.join(["medqa-tui", *sys.argv[1:]])) from error
    if not library.wiped:
        diagnostics.warn(
            "Another program is reading the corpora, so that what was removed or replaced is still"
            f" on the disk, in {library.file}-wal. End it (medqa-tui engine stop, if it is the"
            " engine), then type: medqa-tui corpus update starter"
        )


def index(ctx: typer.Context, *, skip: bool, removed: bool = False) -> Indexed:
    """Have the search indexes follow the corpora; `skip` leaves them for later.

    Args:
        removed: Whether they hold what is no longer in the corpora.
    """
    from medqa_tui.corpus.indexing import LATER, Indexed, update_indexes

    if skip:
        left = "still with words and vectors of what was removed" if removed else "as it was"
        diagnostics.note(f"The search index is {left}. To bring it up to date: {LATER}")
        return Indexed(current=False)
    with _following(ctx, "Bringing the search index up to date") as work:
        indexed = update_indexes(*work)
    if indexed.current:
        diagnostics.note("The search index is up to date.")
    else:
        diagnostics.note("No models are set up yet: medqa-tui setup builds the search index.")
    _tell_behind(indexed.behind)
    return indexed


def index_others(ctx: typer.Context) -> None:
    """Take what was removed out of the indexes of other profiles, and say which are behind."""
    from medqa_tui.corpus.indexing import update_others

    with _following(ctx) as work:
        behind = update_others(*work)
    _tell_behind(behind)


@contextmanager
def _following(
    ctx: typer.Context, label: str = ""
) -> Iterator[tuple[Paths, Settings, Callable[[Message], None], threading.Event]]:
    """Yield what a step of `corpus.indexing` works with; the lock is held, progress is shown."""
    from medqa_tui.config import load_settings
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.lock import setup_lock

    paths, cancel = get_paths(), threading.Event()
    settings = load_settings(options.current(ctx).overrides())
    with diagnostics.StatusLine(label) as line:

        def on_progress(message: Message) -> None:
            done, total = message["done"], message["total"]
            amount = diagnostics.amount(done, total, message["unit"])
            line.show(message["message"], done / total if total else None, amount)

        with interrupt.first_calls(cancel.set), setup_lock(paths, _on_wait, cancel):
            yield paths, settings, on_progress, cancel


def _tell_behind(profiles: tuple[str, ...]) -> None:
    for name in profiles:
        diagnostics.note(
            f"The search index of the profile {name} lacks what is new. To bring it up to date:"
            f" medqa-tui --profile {name} index build"
        )


def _on_wait() -> None:
    diagnostics.note("Another process changes what is installed; waiting for it.")


def open_store() -> CorpusStore:
    """Return the passage store, for reading.

    Raises:
        NotSetUpError: There is none yet.
        MedQAError: It is damaged.
    """
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.paths import get_paths

    file = get_paths().corpora / "corpora.db"
    if not file.is_file():
        raise NotSetUpError("There are no corpora yet.", f"{file} is missing.", "medqa-tui setup")
    return CorpusStore(file)


def all_names() -> list[str]:
    """Return the names of all corpora."""
    with open_store() as store:
        return [info.name for info in store.corpora()]


def require(name: str) -> CorpusInfo:
    """Return what is known of a corpus.

    Raises:
        UsageError: There is no such corpus.
    """
    return require_all([name])[0]


def require_all(wanted: Sequence[str]) -> list[CorpusInfo]:
    """Return what is known of each corpus.

    Raises:
        UsageError: There is no such corpus.
    """
    from medqa_tui.corpus import names

    with open_store() as store:
        return [names.require(store, name) for name in wanted]


def tell(outcome: Outcome) -> None:
    """Say what became of a corpus: its figures, its terms, what was left out."""
    info, change = outcome.info, outcome.change
    if change.is_empty:
        diagnostics.note(f"{info.name}: nothing has changed; {info.passages} passages.")
        return
    diagnostics.note(
        f"{info.name}: {info.passages} passages of {info.documents} documents"
        f" ({change.added} new, {change.changed} changed, {change.removed} removed)."
    )
    diagnostics.note(f"Licence: {info.licence or 'not stated'}. By: {info.attribution or '-'}.")
    if info.licence is None:
        diagnostics.note("To have it shown with each answer: --licence WORDS --attribution WORDS")
    diagnostics.note(f"Revision: {info.revision or '-'}. Date: {info.date or 'not stated'}.")
    tell_left_out(info.left_out)
    if outcome.rejects is not None:
        diagnostics.note(f"Each of them, with its line: {outcome.rejects}")


def tell_left_out(left_out: Mapping[str, int]) -> None:
    """Say how many rows were left out, by reason."""
    for reason, count in Counter(left_out).most_common():
        diagnostics.note(f"  {count} rows: {reason}")
