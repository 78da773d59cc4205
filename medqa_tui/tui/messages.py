"""What workers and widgets tell the app; workers post these and never touch a widget.

What a worker says goes to the one who listens and no further (the app forwards some of it to the
screen, from where it must not come back); what a widget says bubbles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from medqa_tui.domain import Evidence, Failure
from medqa_tui.events import Event, Notice, StatusChanged

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.history.entry import Entry
    from medqa_tui.history.search import Hit
    from medqa_tui.setup.events import SetupEvent
    from medqa_tui.setup.plan import SetupPlan
    from medqa_tui.setup.proposal import Better
    from medqa_tui.training.runs import RunReport


@dataclass
class SettingsLoaded(Message, bubble=False):
    """The configuration is read."""

    settings: Settings


@dataclass
class SetupNeeded(Message, bubble=False):
    """Nothing that could answer is installed."""


@dataclass
class EngineProgress(Message, bubble=False):
    """The engine says what it is doing while it warms up."""

    event: StatusChanged | Notice


@dataclass
class EngineReady(Message, bubble=False):
    """The engine can retrieve; `message` says what it does now, `device` where the model runs."""

    message: str = "Ready"
    device: str = ""


@dataclass
class StartupFailed(Message, bubble=False):
    """The configuration or the engine could not be used."""

    failure: Failure


@dataclass
class AnswerEvent(Message, bubble=False):
    """One event of a running answer."""

    event: Event


@dataclass
class QuestionSubmitted(Message):
    """The user sent a question."""

    text: str


@dataclass
class CitationSelected(Message):
    """The user chose citation `n` of the answer with that turn id."""

    turn: str
    n: int


@dataclass
class PassageOpened(Message):
    """The user wants the whole passage."""

    evidence: Evidence


@dataclass
class SetupPlanned(Message, bubble=False):
    """What setup would do, and what else this machine could run."""

    plan: SetupPlan
    proposal: Better | None = None


@dataclass
class SetupProgress(Message, bubble=False):
    """Setup reports on one of its phases."""

    event: SetupEvent


@dataclass
class SetupEnded(Message, bubble=False):
    """Setup is over: done, cancelled, or failed for the reason given."""

    failure: Failure | None = None
    cancelled: bool = False


@dataclass
class RunsRead(Message, bubble=False):
    """The trainings as they are now; None if that could not be read."""

    runs: tuple[RunReport, ...] | None


@dataclass
class StopAsked(Message, bubble=False):
    """A training was asked to end, unless there is a failure."""

    failure: Failure | None = None


@dataclass
class HistoryFound(Message, bubble=False):
    """What the history holds, or holds of `words`."""

    words: str
    found: tuple[Entry | Hit, ...]
    total: int
    all_words: bool = True


@dataclass
class HistoryChanged(Message, bubble=False):
    """An entry was renamed, pinned or deleted."""


@dataclass
class EntryRead(Message, bubble=False):
    """An entry with its whole answer; None if it is gone."""

    entry: Entry | None


@dataclass
class HistoryFailed(Message, bubble=False):
    """The history could not be read or changed."""

    failure: Failure


@dataclass
class Told(Message, bubble=False):
    """Something that a thread wants the user to know."""

    words: str
