"""What a comparison needs of an installed profile: its search, its models, the systems by name."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.evaluation import heldout_cards, kept, systems
from medqa_tui.evaluation.cases import Case
from medqa_tui.evaluation.comparing import Bench
from medqa_tui.evaluation.near import scored
from medqa_tui.models import adapters, compared
from medqa_tui.models.active import Active
from medqa_tui.models.records import InstallRecord

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.engine.parts import Parts
    from medqa_tui.evaluation.systems import System
    from medqa_tui.models.adapters import InstalledAdapter
    from medqa_tui.paths import Paths

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A comparison as it was asked for.

    Attributes:
        named: The systems by name; None is one that is no adapter.
        data: `starter`, or the file of a held-out set.
        given: What the file holds; nothing for `starter`.
        count: At most so many questions with evidence that answers, and as many without.
        words: What every answer is cut to.
    """

    named: dict[str, InstalledAdapter | None]
    data: str
    count: int
    seed: int
    words: int
    given: tuple[Case, ...] = ()


def require_comparable(active: Active, settings: Settings) -> None:
    """Refuse a profile whose answers cannot be compared here.

    Raises:
        UsageError: A server answers, or answers come from memory.
    """
    from medqa_tui.generation.decoding import decoding_of

    if active.is_remote:
        raise UsageError(
            "A server writes the answers of this profile.",
            f"{active.profile} has no adapters here.",
            "medqa-tui --profile starter adapter compare medqa-starter base",
        )
    if decoding_of(settings).closed_book:
        raise UsageError(
            "This profile answers from memory, and what is compared are answers from evidence.",
            f"{active.profile}.",
            "medqa-tui --profile starter adapter compare medqa-starter base",
        )


def named(paths: Paths, active: Active, names: Sequence[str]) -> dict[str, InstalledAdapter | None]:
    """Return the adapters that are to be compared, by name.

    Raises:
        UsageError: There are fewer than two, or one is no adapter that fits the profile.
    """
    found: dict[str, InstalledAdapter | None] = {}
    for name in names:
        if name in systems.BUILT_IN:
            found[name] = None
            continue
        adapter = adapters.get(paths, name)
        problems = [adapter.problem] if adapter.problem else []
        if not problems and adapter.reranks:
            problems = ["It orders what is found, and writes no answers."]
        problems = problems or adapters.unfit(paths, adapter, active)
        if problems:
            raise UsageError(
                f"The adapter {adapter.name} cannot be compared with the profile {active.profile}.",
                problems[0],
                "medqa-tui eval retrieval --help" if adapter.reranks else "medqa-tui adapter list",
            )
        found[adapter.name] = adapter
    if len(found) < 2:
        raise UsageError(
            "Two different systems are needed.",
            f"Given: {', '.join(names)}.",
            f"medqa-tui adapter compare {names[0] if names else 'NAME'} base",
        )
    return found


class Room:
    """The loaded parts of one comparison; nothing is loaded before it is wanted."""

    def __init__(self, paths: Paths, settings: Settings, active: Active) -> None:
        from medqa_tui.engine.parts import Parts

        self._paths = paths
        self._settings = settings
        self._active = active
        # Why a part cannot be loaded is told once, by the error.
        logging.getLogger("medqa_tui").addHandler(logging.NullHandler())
        # Its import warns that an optional kernel, fetched from a hub, is missing.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        # Adapters are put on the model one after the other; it is loaded without any.
        self._parts: Parts = Parts(paths, settings, replace(active, adapter=None))

    def bench(self, words: int) -> Bench:
        """Return what everything is measured with."""
        from medqa_tui.grounding.support import SupportChecker

        embedder = self._load("embedder")
        # The red-flag rules and the program's own ways, whatever this user has set otherwise.
        settings = self._settings.model_copy(
            update={"answer": type(self._settings.answer)(max_new_tokens=systems.max_tokens(words))}
        )
        checker = SupportChecker(embedder.encode)
        return Bench(kept.folder_of(self._paths), words, checker, embedder, settings)

    def cases(
        self, wanted: Wanted, on_progress: Progress, cancel: threading.Event
    ) -> tuple[Case, ...]:
        """Return the held-out set.

        Raises:
            UsageError: The index answers no held-out card.
        """
        if not wanted.given:
            reranker = self._active.reranker
            if reranker and self._settings.retrieval.rerank:
                reranker = f"{reranker} {self._load('reranker').blend}"
            search = heldout_cards.Search(
                self._load("lexical"), self._load("embedder"), self._settings
            )
            return heldout_cards.starter_cases(
                search,
                wanted.count,
                wanted.seed,
                cache=self._paths.cache / "comparisons",
                reranker=reranker,
                on_progress=on_progress,
                cancel=cancel,
            )
        chosen = _chosen(wanted.given, wanted.count, wanted.seed)
        return tuple(self._judged(case) for case in chosen)

    def systems(self, wanted: Wanted) -> list[System]:
        """Return the systems that are compared, in the order they were named."""
        made = {
            systems.LEAD: lambda: systems.lead(wanted.words),
            systems.EXTRACTIVE: lambda: systems.extractive(
                wanted.words, self._load("embedder").encode, self._active.embedder
            ),
        }
        return [
            made[name]() if name in made else self._model(name, adapter, wanted.words)
            for name, adapter in wanted.named.items()
        ]

    def _model(self, name: str, adapter: InstalledAdapter | None, words: int) -> System:
        folder = adapter.folder if adapter else None
        identity = _identity(self._active.generator_dir(self._paths))
        if folder is not None:
            identity += compared.fingerprint(folder)
        return systems.model(name, words, self._load("generator"), folder, identity)

    def _judged(self, case: Case) -> Case:
        """Return a case with what the search's gate would make of its evidence."""
        from medqa_tui.retrieval import relevance

        if case.relevant is not None and case.close is not None:
            return case
        evidence = scored(case.question, case.evidence, self._load("embedder"))
        return replace(
            case,
            relevant=relevance.is_relevant(case.question, evidence),
            close=relevance.is_close(case.question, evidence),
        )

    def _load(self, part: str) -> Any:
        from medqa_tui.engine.parts import Part, reason

        try:
            return self._parts.want(Part(part)).result()
        except MedQAError:
            raise
        except Exception as error:
            # Drivers and file readers raise all kinds.
            raise MedQAError(
                f"The {part} could not be loaded.", reason(error), "medqa-tui doctor --deep"
            ) from error


def _chosen(cases: Sequence[Case], count: int, seed: int) -> tuple[Case, ...]:
    """Return at most `count` cases of each kind, drawn by the seed, in the file's order."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    kept_ids: set[str] = set()
    for answerable in (True, False):
        ids = [case.id for case in cases if case.answerable is answerable]
        kept_ids |= set(draw.sample(ids, min(count, len(ids))))
    return tuple(case for case in cases if case.id in kept_ids)


def _identity(folder: Path) -> str:
    """Return what identifies a model's files."""
    from medqa_tui.models.files import sha256_file

    record = InstallRecord.read(folder)
    if record is not None and record.files:
        told = [[file.path, file.sha256] for file in record.files]
    else:
        told = [[path.name, sha256_file(path)] for path in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
