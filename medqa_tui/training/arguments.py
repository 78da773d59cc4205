"""How transformers' Trainer is run here, whatever it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from medqa_tui.training.presets import Schedule
from medqa_tui.training.watching import CHECKPOINTS


def arguments(
    work: Path,
    *,
    steps: int,
    schedule: str,
    warmup: float,
    seed: int,
    device: str,
    **more: Any,
) -> TrainingArguments:
    """Return the arguments of a run whose batches are in their order already.

    Args:
        work: Its checkpoints go into a folder there.
        schedule: One of `Schedule`.
        warmup: The share of the steps in which the learning rate rises.
        device: In torch's words.
        more: What only this run needs, by the Trainer's own names.
    """
    if schedule == Schedule.CONSTANT and warmup:
        schedule = "constant_with_warmup"
    return TrainingArguments(
        output_dir=str(work / CHECKPOINTS),
        max_steps=steps,
        lr_scheduler_type=schedule,
        warmup_steps=int(steps * warmup),
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_total_limit=2,
        report_to=[],
        seed=seed,
        use_cpu=device == "cpu",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **more,
    )
