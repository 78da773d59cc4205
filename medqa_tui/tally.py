"""What one answer took: who spoke, how many tokens, how long each step, what there was to note."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from medqa_tui.domain import ModelInfo, Timings, TokenCounts
from medqa_tui.events import GenerationDone


@dataclass
class Tally:
    """Adds up while an answer is made. Times are milliseconds, None where a step did not happen."""

    model: ModelInfo
    tokens: TokenCounts = field(default_factory=TokenCounts)
    notices: list[str] = field(default_factory=list)
    engine_start: float | None = None
    retrieve: float | None = None
    first_token: float | None = None
    generate: float | None = None
    started: float = field(default_factory=time.perf_counter)

    def count(self, done: GenerationDone) -> None:
        """Add a draft that has ended."""
        self.model = done.model
        self.tokens = TokenCounts(
            self.tokens.prompt + done.tokens.prompt,
            self.tokens.completion + done.tokens.completion,
        )
        self.generate = (self.generate or 0.0) + (done.generate_ms or 0.0)

    def hear(self) -> None:
        """Note the time of a token, if it is the first."""
        if self.first_token is None:
            self.first_token = ms_since(self.started)

    @property
    def timings(self) -> Timings:
        """The times so far, `total` up to now."""
        return Timings(
            engine_start=self.engine_start,
            retrieve=self.retrieve,
            first_token=self.first_token,
            generate=self.generate,
            total=ms_since(self.started),
        )


def ms_since(began: float) -> float:
    """Return the milliseconds since `time.perf_counter()` gave `began`."""
    return (time.perf_counter() - began) * 1000.0
