"""What goes along with a training run: progress, the validation loss, whole checkpoints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from medqa_tui.training.progress import TrainEvent

CHECKPOINTS = "checkpoints"
_BEST = "best.safetensors"
_STATE = ("trainer_state.json", "optimizer.pt", "scheduler.pt")
_WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")
_KEY = "validation_loss"


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, if there is one."""
    folder = work / CHECKPOINTS
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.rpartition("-")[2]))
    return next((each for each in found if _is_whole(each)), None)


def _is_whole(folder: Path) -> bool:
    # The trainer writes its own state last.
    whole = all((folder / name).is_file() for name in _STATE)
    return whole and any((folder / name).is_file() for name in _WEIGHTS)


class Best:
    """Measures a run now and then, and keeps the weights that were best.

    Attributes:
        history: (step, validation loss), in order.
    """

    def __init__(self, work: Path, measure: Callable[[], float] | None, patience: int) -> None:
        self._file = work / _BEST
        self._measure = measure
        self._patience = patience
        self.history: list[tuple[int, float]] = []

    def recall(self, log: Sequence[dict[str, Any]]) -> None:
        """Take up the history of a run that is gone on with."""
        self.history = [(int(row["step"]), float(row[_KEY])) for row in log if _KEY in row]

    def look(self, model: Any, step: int, log: list[dict[str, Any]]) -> bool:
        """Measure after `step`; return whether it has not got better for too long."""
        if self._measure is None or any(known == step for known, _ in self.history):
            return False
        loss = self._measure()
        log.append({"step": step, _KEY: loss})
        better = step > 0 and all(loss < other for _, other in self.history)
        self.history.append((step, loss))
        if better and self._patience:
            self._save(model)
        lowest = min(range(len(self.history)), key=lambda n: self.history[n][1])
        return bool(self._patience) and len(self.history) - 1 - lowest >= self._patience

    def restore(self, model: Any) -> None:
        """Put the best weights back, if those of the end are not the best."""
        if not self._patience or not self.history or not self._file.is_file():
            return
        if self.history[-1][1] <= min(loss for _, loss in self.history):
            return
        import torch
        from safetensors.torch import load_file

        saved = load_file(self._file)
        with torch.no_grad():
            for name, parameter in _learnt(model):
                parameter.copy_(saved[name])

    def _save(self, model: Any) -> None:
        from safetensors.torch import save_file

        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        # Not through the model's state: 4-bit layers repack themselves when they are asked for it.
        tensors = {name: parameter.detach().cpu().clone() for name, parameter in _learnt(model)}
        save_file(tensors, part)
        part.replace(self._file)


def _learnt(model: Any) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Tells how far the run is, measures it after each epoch, and ends it when it is asked to.

    Args:
        tokens: Of each batch, or how many of another `unit` it has.
        epoch_steps: Steps after which it is measured.

    Attributes:
        tokens_read: Tokens of all steps since the run began or went on.
    """

    def __init__(
        self,
        on_event: Callable[[TrainEvent], None],
        cancel: threading.Event | None,
        best: Best,
        *,
        tokens: Sequence[int],
        accumulation: int,
        epoch_steps: int,
        unit: str = "tokens",
    ) -> None:
        self._on_event = on_event
        self._cancel = cancel
        self._best = best
        self._tokens = tokens
        self._accumulation = accumulation
        self._epoch_steps = epoch_steps
        self._unit = unit
        self._began = 0.0
        self._from = 0
        self.tokens_read = 0

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        self._from = state.global_step
        if state.global_step:
            self._best.recall(state.log_history)
        else:
            self._look(model, state)
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        step = state.global_step
        self.tokens_read = self._read(self._from, step)
        over = step % self._epoch_steps == 0 or step == state.max_steps
        # The end is told whatever the distance to the last word.
        control.should_log = control.should_log or step == state.max_steps
        # Before the checkpoint of this step, which then holds what was measured.
        if over and self._look(model, state):
            control.should_training_stop = True
        self._end_if_asked(control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        rate = self._read(self._from, state.global_step) / max(time.monotonic() - self._began, 1e-9)
        to_come = self._read(state.global_step, state.max_steps)
        self._on_event(
            TrainEvent(
                "training",
                state.global_step,
                state.max_steps,
                float(logs["loss"]),
                rate,
                to_come / rate if rate else None,
                self._unit,
            )
        )
        self._end_if_asked(control)

    def _look(self, model: Any, state: Any) -> bool:
        known = len(self._best.history)
        over = self._best.look(model, state.global_step, state.log_history)
        for step, loss in self._best.history[known:]:
            self._on_event(TrainEvent("training", step, state.max_steps, validation=loss))
        return over

    def _read(self, begin: int, end: int) -> int:
        return sum(self._tokens[begin * self._accumulation : end * self._accumulation])

    def _end_if_asked(self, control: Any) -> None:
        if self._cancel is not None and self._cancel.is_set():
            control.should_save = control.should_training_stop = True
