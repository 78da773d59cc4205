"""Training a generator: QLoRA on NF4, LoRA, or all weights, with transformers' Trainer and peft."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoTokenizer, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.generation.weights import (
    auto_class,
    is_quantized,
    is_seq2seq,
    nf4_config,
    quiet_libraries,
)
from medqa_tui.models.adapter_check import CAUSAL_TASK, SEQ2SEQ_TASK
from medqa_tui.models.loading import one_at_a_time
from medqa_tui.training.arguments import arguments
from medqa_tui.training.encoding import IGNORED, Row, collate, pad_id
from medqa_tui.training.generator_presets import GeneratorPreset, Method
from medqa_tui.training.job import fitting, no_memory
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.watching import CHECKPOINTS, Best, Watch, last_checkpoint

_KEPT = 20
"""Bytes that a layer keeps of each number of a token's vector until the way back: at least ten
vectors, of 16 bits."""

LogEvent = Callable[[TrainEvent], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, and how the model is shaped.

    Attributes:
        base: Folder of the model, saved in NF4 or dense.
        device: In torch's words, "cpu" or "cuda".
    """

    base: Path
    preset: GeneratorPreset
    device: str = "cpu"

    @property
    def seq2seq(self) -> bool:
        """Whether it is an encoder-decoder."""
        return is_seq2seq(self.base)

    @property
    def method(self) -> Method:
        """What is learnt."""
        return Method(self.preset.method)


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, and what was seen on the way.

    Attributes:
        steps: Steps of the whole run, those before a stop among them.
        losses: (step, mean loss since the one before).
        validation: (step, mean loss on what was kept out); the first is before the training.
        tokens: Tokens read, padding left out, since it began or went on.
        stopped_early: Whether it ended because it no longer got better.
    """

    model: Any
    tokenizer: Any
    steps: int
    losses: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    seconds: float
    tokens: int
    stopped_early: bool


class Batches(Dataset[list[Row]]):
    """The batches of the run in the order they are learnt."""

    def __init__(self, made: Sequence[list[Row]]) -> None:
        self._made = made

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, index: int) -> list[Row]:
        return self._made[index]


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Computes logits only where there is an answer to learn."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        loss, count = answer_loss(model, inputs)
        # Over all batches of an accumulated step, as if they were one.
        loss = loss / (count if num_items_in_batch is None else num_items_in_batch)
        return (loss, {}) if return_outputs else loss


def answer_loss(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    """Return the summed cross-entropy of the answers' tokens, and how many there are."""
    labels = inputs["labels"]
    if "attention_mask" in inputs:
        logits = model(**inputs).logits
        learnt = labels != IGNORED
    else:
        labels = labels[:, 1:]
        columns = (labels != IGNORED).any(dim=0).nonzero()[:, 0]
        # The vocabulary is large: its scores are computed for the answers' columns alone.
        logits = model(
            input_ids=inputs["input_ids"], use_cache=False, logits_to_keep=columns
        ).logits
        labels = labels[:, columns]
        learnt = labels != IGNORED
    loss = functional.cross_entropy(logits[learnt].float(), labels[learnt], reduction="sum")
    return loss, int(learnt.sum())


def mean_loss(model: Any, made: Sequence[dict[str, torch.Tensor]]) -> float:
    """Return the mean loss of a token, without ever leaving training mode.

    On a CPU with bf16 instructions bitsandbytes repacks 4-bit weights the first time they are used
    in evaluation mode, and the repacked kernel has no gradient: after a `model.eval()` nothing
    below a layer would learn. All other layers leave it, and with it their dropout.
    """
    put_out = [m for m in model.modules() if m.training and not _has_4bit(m)]
    for module in put_out:
        module.training = False
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in made:
            loss, tokens = answer_loss(model, {k: v.to(device) for k, v in batch.items()})
            total, count = total + float(loss), count + tokens
    for module in put_out:
        module.training = True
    return total / count


def _has_4bit(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


def build_model(task: Task, tokens: int = 0) -> Any:
    """Return the model with what is to be learnt on it; it is in training mode.

    Args:
        tokens: Of the largest batch, padding among them.

    Raises:
        UsageError: The weights are saved in 4 bits, and the method needs whole ones.
        MedQAError: There is not enough memory.
    """
    quiet_libraries()
    preset, saved = task.preset, is_quantized(task.base)
    if saved and task.method is not Method.QLORA:
        raise UsageError(
            "This model's weights are saved in 4 bits.",
            f"{task.base.name} cannot be trained with method = {preset.method}.",
            "Train an adapter on them: --set method=qlora",
        )
    require_memory(task, tokens)
    set_seed(preset.seed)
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    if task.method is Method.QLORA:
        options["dtype"] = torch.bfloat16
        if not saved:
            options["quantization_config"] = nf4_config()
    with one_at_a_time:
        model = auto_class(task.base).from_pretrained(
            task.base, device_map={"": 0 if task.device == "cuda" else "cpu"}, **options
        )
    model.config.use_cache = False
    if task.method is not Method.FULL:
        config = LoraConfig(
            r=preset.rank,
            lora_alpha=preset.alpha,
            lora_dropout=preset.dropout,
            target_modules="all-linear",
            task_type=SEQ2SEQ_TASK if task.seq2seq else CAUSAL_TASK,
        )
        model = get_peft_model(model, config)
    return model.train()


def require_memory(task: Task, tokens: int) -> None:
    """Refuse what cannot fit, before anything is loaded.

    Args:
        tokens: Of the largest batch.

    Raises:
        MedQAError: The weights, with what an optimizer keeps of them, and the least that a batch
            leaves behind for the way back, need more.
    """
    import psutil

    size = sum(path.stat().st_size for path in task.base.glob("*.safetensors"))
    # Whole weights have a gradient and two moments beside them, and files may be in 16 bits.
    needed = size * {Method.QLORA: 1.3, Method.LORA: 2.5, Method.FULL: 8.0}[task.method]
    if tokens:
        config = AutoConfig.from_pretrained(task.base, local_files_only=True)
        needed += tokens * config.num_hidden_layers * config.hidden_size * _KEPT
    if task.device == "cuda":
        free = int(torch.cuda.mem_get_info()[0])
    else:
        free = int(psutil.virtual_memory().available)
    if needed > free:
        raise no_memory(f"{needed / 1e9:.1f} GB or more are needed, {free / 1e9:.1f} are free.")


def _largest(made: Sequence[list[Row]]) -> int:
    """Return the tokens of the largest batch, padding among them."""
    return max(len(batch) * max(len(row.inputs) for row in batch) for batch in made)


def require_gradients(model: Any) -> None:
    """Refuse to train through a 4-bit layer that was repacked for inference.

    Raises:
        MedQAError: Such a layer would pass no gradient on.
    """
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            raise MedQAError(
                "The model cannot be trained in this process.", f"{name} was repacked.", ""
            )


def train(
    task: Task,
    made: Sequence[list[Row]],
    held: Sequence[Row],
    work: Path,
    *,
    per_epoch: int,
    looks: int = 0,
    resume: bool = False,
    on_event: LogEvent = lambda event: None,
    cancel: threading.Event | None = None,
) -> Trained:
    """Learn the batches in order; the best weights on `held` are what is left in the end.

    Args:
        per_epoch: Batches of one epoch.
        looks: How often it is measured over the whole run; 0 measures after each epoch.
        work: Where checkpoints go; `resume` goes on from the last whole one there.

    Raises:
        Stopped: `cancel` was set; a checkpoint holds what was learnt.
        MedQAError: Memory ran out.
    """
    tokenizer = AutoTokenizer.from_pretrained(task.base, local_files_only=True)
    model = build_model(task, _largest(made))
    checkpoint = last_checkpoint(work) if resume else None
    if not resume:
        shutil.rmtree(work / CHECKPOINTS, ignore_errors=True)
    pad, preset = pad_id(tokenizer), task.preset
    checks = [
        collate(held[at : at + preset.batch], pad, seq2seq=task.seq2seq)
        for at in range(0, len(held), preset.batch)
    ]
    steps = total_steps(len(made), preset)
    epoch_steps = max(1, -(-per_epoch // preset.accumulation))
    look_steps = max(1, -(-steps // looks)) if looks else epoch_steps
    # The patience is of epochs.
    patience = -(-preset.patience * epoch_steps // look_steps)
    best = Best(work, (lambda: mean_loss(model, checks)) if checks else None, patience)
    watch = Watch(
        on_event,
        cancel,
        best,
        tokens=[sum(len(row.inputs) for row in batch) for batch in made],
        accumulation=preset.accumulation,
        epoch_steps=look_steps,
    )
    trainer = AnswerTrainer(
        model=model,
        args=_arguments(task, work, steps, epoch_steps),
        train_dataset=Batches(made),
        data_collator=lambda rows: collate(rows[0], pad, seq2seq=task.seq2seq),
        callbacks=[watch],
    )
    # Trainer's own printing would go to stdout.
    trainer.remove_callback(PrinterCallback)
    require_gradients(model)
    began = time.monotonic()
    with fitting(f"{preset.batch} rows of {preset.max_tokens} tokens a batch."):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    if cancel is not None and cancel.is_set() and trainer.state.global_step < steps:
        raise Stopped(work)
    require_gradients(model)
    best.restore(model)
    losses = tuple(
        (int(entry["step"]), float(entry["loss"]))
        for entry in trainer.state.log_history
        if "loss" in entry
    )
    done = int(trainer.state.global_step)
    return Trained(
        model=model,
        tokenizer=tokenizer,
        steps=done,
        losses=losses,
        validation=tuple(best.history),
        seconds=seconds,
        tokens=watch.tokens_read,
        stopped_early=done < steps,
    )


def total_steps(count: int, preset: GeneratorPreset) -> int:
    """Return the optimizer's steps over `count` batches."""
    return -(-count // preset.accumulation)


def _arguments(task: Task, work: Path, steps: int, epoch_steps: int) -> TrainingArguments:
    preset = task.preset
    paged = task.device == "cuda" and preset.optimizer == "paged_adamw_8bit"
    return arguments(
        work,
        steps=steps,
        warmup=preset.warmup,
        seed=preset.seed,
        device=task.device,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=preset.accumulation,
        learning_rate=preset.learning_rate,
        schedule=preset.schedule,
        weight_decay=preset.weight_decay,
        max_grad_norm=preset.max_grad_norm,
        optim="paged_adamw_8bit" if paged else "adamw_torch",
        logging_steps=max(1, min(5, steps // 4)),
        logging_nan_inf_filter=False,
        save_steps=preset.checkpoint_steps or epoch_steps,
    )


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step takes: seconds, peak memory in bytes, and tokens it reads."""

    seconds: float
    memory: int
    tokens: int


def measure_step(task: Task, made: Sequence[list[Row]]) -> StepCost:
    """Return what a step on batches of middling length costs; nothing is kept."""
    import psutil

    tokenizer = AutoTokenizer.from_pretrained(task.base, local_files_only=True)
    model = build_model(task, _largest(made))
    order = sorted(made, key=lambda batch: sum(len(row.inputs) for row in batch))
    # The longest shows the memory and prepares the kernels; the middle one is timed.
    took = 0.0
    for batch in (order[-1], order[len(order) // 2], order[len(order) // 2]):
        inputs = collate(batch, pad_id(tokenizer), seq2seq=task.seq2seq)
        began = time.monotonic()
        with fitting(f"A batch of {len(batch)} rows does not fit."):
            loss, _ = answer_loss(model, {k: v.to(task.device) for k, v in inputs.items()})
            torch.autograd.backward(loss)
        if task.device == "cuda":
            torch.cuda.synchronize()
        took = time.monotonic() - began
    memory = int(psutil.Process().memory_info().rss)
    if task.device == "cuda":
        memory = int(torch.cuda.max_memory_allocated())
    times = task.preset.accumulation
    middle = sum(len(row.inputs) for row in order[len(order) // 2])
    return StepCost(took * times, memory, middle * times)
