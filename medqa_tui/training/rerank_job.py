"""One reranker training from data to a folder with adapter, head and card."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.retrieval.blending import Blend
from medqa_tui.training import runcard
from medqa_tui.training.groups import (
    Group,
    Searched,
    build_groups,
    split_validation,
    validation_group,
)
from medqa_tui.training.job import Job, Tell, card_of, require_checkpoint, rounded, saving
from medqa_tui.training.mining import Mined, mine
from medqa_tui.training.presets import RerankPreset
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.sources import STARTER, Source, Style, read_source
from medqa_tui.training.vectors import VectorCache

if TYPE_CHECKING:
    from medqa_tui.training.reranker import Run

DEPTH = 16
REACHES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
"""Of `Blend.reach`: tried on the validation questions. They are like the training data, and such
questions want more of the model than others do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(Job):
    """What is to be trained, from what, and where it goes.

    The base is an encoder; it also finds the hard negatives.

    Attributes:
        cache: Vectors of what was embedded once.
    """

    cache: Path
    preset: RerankPreset


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data of a run, searched and parted.

    Attributes:
        train: The questions to learn from, with the number of their source.
    """

    sources: tuple[Source, ...]
    searched: tuple[Searched, ...]
    train: tuple[tuple[int, Mined], ...]
    groups: tuple[Group, ...]
    validation: tuple[Group, ...]

    @property
    def pairs(self) -> int:
        """Question-passage pairs of the run."""
        return sum(len(group.texts) for group in self.groups)


def prepare(wanted: Wanted, on_event: Tell, cancel: threading.Event | None = None) -> Prepared:
    """Read the data, mine hard negatives and build the groups.

    Raises:
        UsageError: The data is missing, malformed, or leaves nothing to learn.
        Stopped: `cancel` was set; what was embedded is kept.
    """
    from medqa_tui.retrieval.embedder import Embedder

    on_event(TrainEvent("reading the data"))
    sources = tuple(read_source(name, wanted.data_folder, wanted.store) for name in wanted.data)
    cache = VectorCache(wanted.cache, Embedder.load(wanted.base, wanted.torch_device()))

    def step(phase: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if cancel is not None and cancel.is_set():
                raise Stopped(wanted.cache)
            on_event(TrainEvent(phase, done, total))

        return tell

    searched = []
    for source in sources:
        style = Style.HEADED if source.name == STARTER else Style.BARE
        texts = [example.shown(style) for example in source.examples]
        cache.encode(texts, step(f"embedding {source.name}"))
        mined = mine(source.examples, texts, cache.encode, step(f"mining {source.name}"))
        searched.append(Searched(source.name, source.examples, tuple(mined)))
    preset = wanted.preset
    train, held = split_validation(searched, preset.validation, preset.seed)
    groups = build_groups(searched, train, preset)
    validation = [validation_group(searched, item, DEPTH) for item in held]
    return Prepared(sources, tuple(searched), tuple(train), tuple(groups), tuple(validation))


def with_preset(
    wanted: Wanted, prepared: Prepared, preset: RerankPreset
) -> tuple[Wanted, Prepared]:
    """Return the run with other settings, which are not of the data."""
    groups = build_groups(prepared.searched, prepared.train, preset)
    return replace(wanted, preset=preset), replace(prepared, groups=tuple(groups))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run measured on its validation questions.

    Attributes:
        before: MRR of the retrieval scores alone.
        alone: MRR of the reranker's scores alone.
        fused: MRR of both, blended as was best.
        blend: How that is.
    """

    questions: int
    before: float
    alone: float
    fused: float
    blend: Blend


def run(
    wanted: Wanted,
    prepared: Prepared,
    *,
    looks: int = 0,
    resume: bool = False,
    on_event: Tell = lambda event: None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Train, measure, and save adapter and card in `wanted.output`.

    Args:
        looks: How often the loss of the validation questions is taken on the way.

    Raises:
        Stopped: `cancel` was set.
    """
    from medqa_tui.training import reranker

    preset = wanted.preset
    if resume:
        require_checkpoint(wanted.work)
    trained = reranker.train(
        wanted.base,
        prepared.groups,
        preset,
        wanted.work,
        device=wanted.torch_device(),
        held=prepared.validation if looks else (),
        looks=looks,
        resume=resume,
        on_event=on_event,
        cancel=cancel,
    )
    on_event(TrainEvent("measuring"))
    scores = reranker.score_groups(trained, prepared.validation, preset.max_tokens)
    outcome = measured(prepared.validation, scores)
    card = _card(wanted, prepared, outcome, trained)
    with saving(wanted) as folder:
        reranker.save(trained.model, folder, wanted.base_id)
        runcard.write_card(folder, card)
    return outcome


def measured(groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> Outcome:
    """Return MRR before and after, and the blend that is best on these questions."""
    if not groups:
        return Outcome(0, 0.0, 0.0, 0.0, Blend())
    absent = round(statistics.fmean(score for logits in scores for score in logits), 2)

    def mrr(blend: Blend) -> float:
        return mean(
            blend.scores(logits, group.scores) for group, logits in zip(groups, scores, strict=True)
        )

    def mean(ordered: Iterable[Sequence[float]]) -> float:
        return statistics.fmean(map(reciprocal_rank, ordered))

    best = max((Blend(reach, absent) for reach in REACHES), key=mrr)
    return Outcome(
        len(groups), mean(group.scores for group in groups), mean(scores), mrr(best), best
    )


def reciprocal_rank(scores: Sequence[float]) -> float:
    """Return 1 / rank of the first score; those that equal it stand before it."""
    return 1 / (1 + sum(other >= scores[0] for other in scores[1:]))


def _card(
    wanted: Wanted,
    prepared: Prepared,
    outcome: Outcome,
    trained: Run,
) -> dict[str, Any]:
    preset = wanted.preset
    title = f"LoRA cross-encoder on {wanted.base_id}"
    return {
        **card_of(wanted, "reranker", title, preset, prepared.sources),
        # A re-ranker reads no prompt.
        "template_sha256": "",
        "max_tokens": preset.max_tokens,
        "blend": asdict(outcome.blend),
        "pairs": prepared.pairs,
        "seconds": round(trained.seconds),
        "validation": {
            "questions": outcome.questions,
            "depth": DEPTH,
            "mrr_retrieval": round(outcome.before, 4),
            "mrr_reranker": round(outcome.alone, 4),
            "mrr_both": round(outcome.fused, 4),
        },
        "losses": rounded(trained.losses),
        "validation_losses": rounded(trained.validation),
    }
