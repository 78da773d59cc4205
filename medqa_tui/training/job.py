"""What training a generator and training a reranker have in common."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.models.files import sha256_file, sync_tree
from medqa_tui.models.install import place
from medqa_tui.training import runcard
from medqa_tui.training.progress import TrainEvent
from medqa_tui.training.sources import Source

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tell = Callable[[TrainEvent], None]

_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """On what is trained, from what, and where it goes.

    Attributes:
        base: Folder of the model.
        base_id: Its public id.
        base_revision: Its pinned source.
        data: Names of sources, or files.
        data_folder: Where MedQuAD lies.
        store: The file of the added corpora.
        output: The folder of the result.
        work: Checkpoints; removed when the result is saved.
    """

    name: str
    base: Path
    base_id: str
    base_revision: str
    data: tuple[str, ...]
    data_folder: Path | None
    store: Path
    output: Path
    work: Path
    preset_name: str
    device: str = "auto"
    threads: int = 0

    def torch_device(self) -> str:
        """Return the device in torch's words, and give torch its threads."""
        import torch

        if self.threads > 0:
            torch.set_num_threads(self.threads)
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"


def require_checkpoint(work: Path) -> None:
    """Refuse to go on where nothing was begun.

    Raises:
        UsageError: No checkpoint in `work` was written to its end.
    """
    from medqa_tui.training.watching import last_checkpoint

    if last_checkpoint(work) is None:
        raise UsageError(
            "There is nothing to go on from.",
            f"{work} holds no whole checkpoint.",
            "Type the same command without --resume.",
        )


def no_memory(detail: str) -> MedQAError:
    """Return the error of a run that does not fit into memory."""
    return MedQAError(
        "There is not enough memory to train this model.",
        detail,
        "Close other programs, or train with less: --set batch=1 --set max_tokens=256",
    )


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Say in words that the block ran out of memory.

    Args:
        what: A batch, in words.

    Raises:
        MedQAError: It did.
    """
    from medqa_tui.generation.faults import is_out_of_memory

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise no_memory(what) from error


@contextmanager
def saving(job: Job) -> Iterator[Path]:
    """Give a folder to save the result in; at the end of the block it is in place, all at once."""
    part = job.output.with_name(f".{job.output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    yield part
    sync_tree(part)
    place(part, job.output)
    shutil.rmtree(job.work, ignore_errors=True)


def card_of(
    job: Job, kind: str, title: str, preset: DataclassInstance, sources: Sequence[Source]
) -> dict[str, Any]:
    """Return what the card of every run says: base, data, licence, settings, program."""
    tokenizer = job.base / _TOKENIZER
    return {
        "name": job.name,
        "kind": kind,
        "title": f"{job.name}: {title}",
        "base": job.base_id,
        "base_revision": job.base_revision,
        "tokenizer_sha256": sha256_file(tokenizer) if tokenizer.is_file() else "",
        "licence": ", ".join(sorted({source.licence for source in sources})),
        "attribution": f"Trained on {'; '.join(source.attribution for source in sources)}.",
        "preset": job.preset_name,
        "settings": asdict(preset),
        "data": runcard.data_record(sources),
        "git_revision": runcard.git_revision(),
    }


def rounded(points: Sequence[tuple[int, float]]) -> list[list[float]]:
    """Return the points of a curve as a card holds them."""
    return [[step, round(loss, 4)] for step, loss in points]
