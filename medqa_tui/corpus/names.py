"""What a corpus may be called, which one is meant, and where it came from."""

from __future__ import annotations

import difflib
import re

from medqa_tui.corpus.cards import CORPUS as STARTER
from medqa_tui.corpus.record import CorpusInfo
from medqa_tui.corpus.sources import BUILTINS, Source
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str) -> None:
    """Make sure that a corpus can be called `name`.

    Raises:
        UsageError: It cannot.
    """
    if name == STARTER:
        raise UsageError(
            "That name belongs to the corpus that comes with the program:",
            f"{name}.",
            "Choose another name.",
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            "A corpus cannot be called so:",
            f"{name}. Use small letters, digits, dots, hyphens and underscores.",
            "Choose another name: medqa-tui corpus add NAME --from PATH",
        )


def require(store: CorpusStore, name: str) -> CorpusInfo:
    """Return what is known of a corpus.

    Raises:
        UsageError: There is no such corpus.
    """
    info = store.corpus(name)
    if info is not None:
        return info
    known = [each.name for each in store.corpora()]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    rest = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}."
    hint = f"medqa-tui corpus add {name}" if name in BUILTINS else "medqa-tui corpus list"
    raise UsageError("There is no such corpus:", f"{name}. {rest}", hint)


def source_of(info: CorpusInfo) -> Source:
    """Return what a corpus was read from.

    Raises:
        UsageError: That is not known.
    """
    try:
        return Source.from_json(info.origin)
    except ValueError as error:
        raise UsageError(
            "It is not known what this corpus was read from:",
            f"{info.name}.",
            f"medqa-tui corpus remove {info.name}, then add it again",
        ) from error


def place_of(info: CorpusInfo) -> str:
    """Return in words where a corpus comes from."""
    if not info.origin:
        return "medqa-tui itself"
    try:
        source = Source.from_json(info.origin)
    except ValueError:
        return "unknown"
    if source.path is not None:
        return str(source.path)
    return BUILTINS[source.builtin].homepage if source.builtin in BUILTINS else "unknown"
