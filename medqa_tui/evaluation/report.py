"""What a comparison came to: as JSON, as a file with every answer, and as records of adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.contract import SCHEMA_VERSION
from medqa_tui.errors import MedQAError
from medqa_tui.evaluation import figures, verdict
from medqa_tui.evaluation.cases import data_sha256
from medqa_tui.models import compared

if TYPE_CHECKING:
    from medqa_tui.evaluation.bench import Wanted
    from medqa_tui.evaluation.cases import Case
    from medqa_tui.evaluation.comparing import Answered
    from medqa_tui.evaluation.figures import Difference, Figures
    from medqa_tui.paths import Paths


@dataclass(frozen=True)
class Report:
    """Everything that was measured.

    Attributes:
        answered: What each system said, in the order they were named.
        measured: Its figures.
    """

    data: str
    cases: Sequence[Case]
    words: int
    answered: Mapping[str, Answered]
    measured: Mapping[str, Figures]

    @property
    def names(self) -> tuple[str, ...]:
        """The systems; the others are compared with the first."""
        return tuple(self.measured)

    @cached_property
    def questions(self) -> tuple[int, int]:
        """How many questions there are with evidence that answers, and without."""
        answerable = sum(case.answerable for case in self.cases)
        return answerable, len(self.cases) - answerable

    @cached_property
    def gate(self) -> dict[str, float | None]:
        """What the search's own gate declines."""
        return figures.gate(self.cases)

    @cached_property
    def differences(self) -> dict[tuple[str, str], dict[str, Difference]]:
        """Every system less every other."""
        return {
            (one, other): figures.compare(self.measured[one], self.measured[other])
            for one in self.names
            for other in self.names
            if one != other
        }

    def regressions(self, one: str, other: str) -> tuple[str, ...]:
        """Return in what one system is worse than another where that must not be."""
        first, second = ((self.measured[name], self.answered[name].safety) for name in (one, other))
        return verdict.regressions(first, second, self.differences[one, other], (one, other))

    def record(self) -> dict[str, Any]:
        """Return the report for JSON, without the answers."""
        first, *others = self.names
        return {
            "data": {
                "name": self.data,
                "sha256": data_sha256(self.cases),
                "answerable": self.questions[0],
                "unanswerable": self.questions[1],
            },
            "words": self.words,
            "gate": self.gate,
            "systems": {name: self._system(name) for name in self.names},
            "less": {other: self._less(first, other) for other in others},
            "regressions": {other: list(self.regressions(first, other)) for other in others},
        }

    def write(self, file: Path) -> None:
        """Write the report with every question and answer, in one atomic step.

        Raises:
            MedQAError: The file cannot be written.
        """
        from medqa_tui.models.files import write_atomic

        rows = [
            {
                "id": case.id,
                "question": case.question,
                "reference": case.reference,
                "answerable": case.answerable,
                "relevant": case.relevant,
                "evidence": [item.passage.id for item in case.evidence],
                "answers": {name: asdict(each.said[at]) for name, each in self.answered.items()},
            }
            for at, case in enumerate(self.cases)
        ]
        full = {"schema_version": SCHEMA_VERSION, **self.record(), "questions": rows}
        text = json.dumps(full, indent=1, ensure_ascii=False)
        try:
            write_atomic(file, text.encode() + b"\n")
        except OSError as error:
            raise MedQAError(
                "The figures could not be written.",
                f"{file}: {error.strerror or error}.",
                "Name another file: --output FILE",
            ) from error

    def keep(self, paths: Paths, wanted: Wanted) -> None:
        """Keep the comparison beside each adapter, with each other adapter and with the base."""
        for name, adapter in wanted.named.items():
            for other, against in wanted.named.items():
                if adapter is None or other == name or not (against or other == compared.BASE):
                    continue
                told = compared.Compared(
                    against=other,
                    against_sha256=compared.fingerprint(against.folder) if against else "",
                    data=self.data if self.data == "starter" else Path(self.data).name,
                    data_sha256=data_sha256(self.cases),
                    questions=self.questions,
                    words=self.words,
                    measured=datetime.now(UTC).isoformat(timespec="seconds"),
                    figures=self._kept(name, other),
                    regressions=self.regressions(name, other),
                )
                compared.write(paths, adapter, told)

    def _kept(self, name: str, other: str) -> dict[str, Any]:
        return {
            "own": self._system(name),
            "other": self._system(other),
            "less": self._less(name, other),
            "gate": self.gate,
        }

    def _system(self, name: str) -> dict[str, Any]:
        of, answered = self.measured[name], self.answered[name]
        means = {each.name: of.mean(each.name) for each in figures.MEASURES}
        return {
            "measures": {key: asdict(mean) for key, mean in means.items() if mean is not None},
            "perplexity": of.perplexity,
            "decline_auc": of.auc,
            "declined_with_gate": of.together_with,
            "declined_without_gate": of.together_without,
            "safety": [{"id": o.id, "failed": o.failed or None} for o in answered.safety],
        }

    def _less(self, one: str, other: str) -> dict[str, Any]:
        found = self.differences[one, other]
        return {key: {"cases": d.cases, **asdict(d.interval)} for key, d in found.items()}
