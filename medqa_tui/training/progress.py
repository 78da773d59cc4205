"""What a running training tells, and how it ends when it is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medqa_tui.errors import ExitCode, MedQAError


@dataclass(frozen=True, slots=True)
class TrainEvent:
    """How far a run is.

    Attributes:
        phase: What is being done: "reading", "mining", "training" or "measuring".
        loss: The mean loss since the last event, while training.
        rate: Of what is counted, how much a second since the run began or went on.
        left: Seconds to go at that rate.
        validation: The mean loss on what was kept out, after a measurement.
    """

    phase: str
    done: int = 0
    total: int = 0
    loss: float | None = None
    rate: float | None = None
    left: float | None = None
    unit: str = "pairs"
    validation: float | None = None

    @property
    def counts(self) -> bool:
        """Whether the message says how many steps are done."""
        return self.loss is not None or self.validation is not None

    @property
    def message(self) -> str:
        """The event in words."""
        if self.validation is not None:
            at = f"step {self.done} of {self.total}"
            return f"Training: {at}, validation loss {self.validation:.3f}"
        if self.loss is None:
            return self.phase.capitalize()
        parts = [f"step {self.done} of {self.total}", f"loss {self.loss:.3f}"]
        if self.rate is not None:
            parts.append(f"{self.rate:.1f} {self.unit}/s")
        if self.left is not None:
            parts.append(f"{duration(self.left)} to go")
        return "Training: " + ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds, without what is zero in front."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Stopped(MedQAError):
    """The user ended a run; its last checkpoint is kept."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self, work: Path) -> None:
        super().__init__(
            "The training was stopped.",
            f"What was learnt so far lies in {work}.",
            "Type the same command with --resume to go on.",
        )
