"""One generator training from data to a folder with weights and a card."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import UsageError
from medqa_tui.generation import prompt
from medqa_tui.models.files import write_atomic
from medqa_tui.training import curve, runcard
from medqa_tui.training.examples import Lesson, lessons
from medqa_tui.training.generator_presets import GeneratorPreset, Method
from medqa_tui.training.job import Job, Tell, card_of, require_checkpoint, rounded, saving
from medqa_tui.training.pairs import Parted, part, read_pairs
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.sources import STARTER, Example, Source

if TYPE_CHECKING:
    from medqa_tui.training.encoding import Row
    from medqa_tui.training.generator import Task, Trained

_RUN = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(Job):
    """What is to be trained, from what, and where it goes.

    The output is an adapter's folder, or where all weights are trained, a model's.

    Attributes:
        base_licence: As the catalogue names it.
    """

    base_licence: str
    preset: GeneratorPreset

    def task(self) -> Task:
        """Return what is trained, on the device that is there."""
        from medqa_tui.training.generator import Task

        return Task(self.base, self.preset, self.torch_device())


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data of a run, parted and as token ids.

    Attributes:
        rows: Each lesson once.
        batches: In the order they are learnt.
        per_epoch: Batches of one epoch.
        cut: Answers that were shortened to the length of a row, their end mark kept.
        left_out: Lessons whose prompt left no room.
    """

    sources: tuple[Source, ...]
    parted: Parted
    lessons: tuple[Lesson, ...]
    rows: tuple[Row, ...]
    batches: tuple[list[Row], ...]
    held: tuple[Row, ...]
    per_epoch: int
    cut: int
    left_out: int

    @property
    def tokens(self) -> int:
        """Tokens that the run reads, padding left out."""
        return sum(len(row.inputs) for batch in self.batches for row in batch)

    @property
    def abstaining(self) -> int:
        """Lessons whose evidence does not answer."""
        return sum(lesson.abstains for lesson in self.lessons)


def prepare(wanted: Wanted, on_event: Tell, cancel: threading.Event | None = None) -> Prepared:
    """Read the data, part it, and write it as token ids.

    Raises:
        UsageError: The data is missing, malformed, or leaves nothing to learn.
        Stopped: `cancel` was set.
    """
    from transformers import AutoTokenizer

    from medqa_tui.training.encoding import Encoded, batches, encode, end_of_turn

    on_event(TrainEvent("reading the data"))
    preset = wanted.preset
    sources = tuple(read_pairs(name, wanted.data_folder, wanted.store) for name in wanted.data)
    parted = part([e for s in sources for e in s.examples], preset.validation, preset.seed)
    held_topics = {example.group for example in parted.held}
    pool = [e for e in _pool(wanted) if e.group not in held_topics] if preset.evidence else []
    learnt = lessons(parted.train, preset, pool)
    # What measures draws its wrong passages from its own topics and the same pool.
    checks = lessons(parted.held, preset, pool, seed=preset.seed + 1) if parted.held else []
    if cancel is not None and cancel.is_set():
        raise Stopped(wanted.work)
    seq2seq = wanted.task().seq2seq
    tokenizer = AutoTokenizer.from_pretrained(wanted.base, local_files_only=True)
    if not seq2seq and not tokenizer.chat_template:
        raise UsageError("This model has no chat template.", f"{wanted.base}.", "medqa-tui setup")
    end = end_of_turn(wanted.base, tokenizer)

    def ids(those: list[Lesson]) -> Encoded:
        return encode(those, tokenizer, end, preset.max_tokens, seq2seq=seq2seq)

    encoded = ids(learnt)
    made = batches(
        encoded.rows, preset.batch, preset.epochs, preset.seed, by_length=preset.by_length
    )
    return Prepared(
        sources,
        parted,
        tuple(learnt),
        tuple(encoded.rows),
        tuple(made),
        ids(checks).rows if checks else (),
        -(-len(encoded.rows) // preset.batch),
        encoded.cut,
        encoded.left_out,
    )


def with_preset(
    wanted: Wanted, prepared: Prepared, preset: GeneratorPreset
) -> tuple[Wanted, Prepared]:
    """Return the run with other settings, which are not of the data."""
    from medqa_tui.training.encoding import batches

    rows = prepared.rows
    made = batches(rows, preset.batch, preset.epochs, preset.seed, by_length=preset.by_length)
    per_epoch = -(-len(rows) // preset.batch)
    return (
        replace(wanted, preset=preset),
        replace(prepared, batches=tuple(made), per_epoch=per_epoch),
    )


def _pool(wanted: Wanted) -> tuple[Example, ...]:
    """Return the passages that stand beside the right one: the starter cards of the train split."""
    return read_pairs(STARTER, wanted.data_folder).examples


def run(
    wanted: Wanted,
    prepared: Prepared,
    *,
    looks: int = 0,
    resume: bool = False,
    on_event: Tell = lambda event: None,
    cancel: threading.Event | None = None,
) -> Trained:
    """Train, and save weights, card and learning curve in `wanted.output`.

    Args:
        looks: How often the run is measured; 0 measures after each epoch.

    Raises:
        UsageError: There is nothing to go on from.
        Stopped: `cancel` was set.
        MedQAError: Memory ran out.
    """
    from medqa_tui.training import generator

    if resume:
        require_checkpoint(wanted.work)
    _same_run(wanted, prepared, resume=resume)
    trained = generator.train(
        wanted.task(),
        prepared.batches,
        prepared.held,
        wanted.work,
        per_epoch=prepared.per_epoch,
        looks=looks,
        resume=resume,
        on_event=on_event,
        cancel=cancel,
    )
    on_event(TrainEvent("saving"))
    with saving(wanted) as folder:
        _save(wanted, prepared, trained, folder)
    return trained


def _same_run(wanted: Wanted, prepared: Prepared, *, resume: bool) -> None:
    """Write down what a run is of, or refuse to go on with one that is of something else.

    Raises:
        UsageError: Base, data or settings are others than those of the checkpoints.
    """
    file = wanted.work / _RUN
    now: dict[str, Any] = {
        "base": f"{wanted.base_id} {wanted.base_revision}",
        "data": {source.name: dict(source.hashes) for source in prepared.sources},
        "settings": asdict(wanted.preset),
    }
    if not resume:
        shutil.rmtree(wanted.work, ignore_errors=True)
        wanted.work.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(now).encode())
        return
    try:
        before = json.loads(file.read_bytes())
    except (OSError, ValueError):
        before = {}
    other = [key for key, value in now.items() if before.get(key) != value]
    if "settings" in other and isinstance(before.get("settings"), dict):
        kept = before["settings"]
        changed = [key for key, value in now["settings"].items() if kept.get(key) != value]
        other[other.index("settings")] = f"settings ({', '.join(changed)})"
    if other:
        raise UsageError(
            "This run cannot be continued.",
            f"Its checkpoints are of other {' and '.join(other)}.",
            "Type the command as it was, or without --resume to begin again.",
        )


def _save(wanted: Wanted, prepared: Prepared, trained: Trained, folder: Path) -> None:
    card = _card(wanted, prepared, trained)
    if Method(wanted.preset.method) is Method.FULL:
        from medqa_tui.training.own_model import save_model

        save_model(trained, folder, wanted.name, wanted.base, card)
    else:
        from medqa_tui.training.reranker import save

        save(trained.model, folder, wanted.base_id)
        runcard.write_card(folder, card)
    curve.write_png(trained.losses, trained.validation, folder / curve.PNG)


def _card(wanted: Wanted, prepared: Prepared, trained: Trained) -> dict[str, Any]:
    preset, parted = wanted.preset, prepared.parted
    chat = str(trained.tokenizer.chat_template or "")
    title = f"{preset.title}, on {wanted.base_id}"
    return {
        **card_of(wanted, "generator", title, preset, prepared.sources),
        "base_licence": wanted.base_licence,
        "template_sha256": prompt.template_hash(closed_book=not preset.evidence),
        "chat_template_sha256": hashlib.sha256(chat.encode()).hexdigest(),
        "examples": len(prepared.lessons),
        "abstaining": prepared.abstaining,
        "answers_cut": prepared.cut,
        "left_out_too_long": prepared.left_out,
        "split": {
            "train": len(parted.train),
            "validation": len(parted.held),
            "validation_topics": parted.topics,
            "near_duplicates_left_out": parted.near,
        },
        "steps": trained.steps,
        "stopped_early": trained.stopped_early,
        "seconds": round(trained.seconds),
        "tokens_per_second": round(trained.tokens / max(trained.seconds, 1e-9)),
        "losses": rounded(trained.losses),
        "validation_losses": rounded(trained.validation),
    }
