"""The settings of a generator's training; what each does stands in the preset's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from medqa_tui.errors import UsageError
from medqa_tui.training.presets import read_preset, require_known

KIND = "generator"


class Method(StrEnum):
    """What is learnt: LoRA matrices over 4-bit weights, over whole weights, or all weights."""

    QLORA = "qlora"
    LORA = "lora"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class GeneratorPreset:
    """The settings of a generator's training.

    Attributes:
        profile: The profile whose model is trained, unless another is named.
        evidence: Whether the examples have numbered passages to answer from.
        answer_words: Words of an answer from evidence, at most; whole sentences are left out.
        validation: Questions kept out to measure the run, with all that is near them.
        patience: Epochs without a better validation loss after which it ends; 0 never ends early.
        checkpoint_steps: Steps between checkpoints; 0 makes one after every epoch.
    """

    title: str
    profile: str
    method: str
    evidence: bool
    rank: int
    alpha: int
    dropout: float
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_grad_norm: float
    epochs: float
    batch: int
    accumulation: int
    optimizer: str
    max_tokens: int
    answer_sentences: int
    answer_words: int
    passages: int
    passage_words: int
    abstaining: float
    by_length: bool
    validation: int
    patience: int
    checkpoint_steps: int
    seed: int


def read_generator_preset(name: str, overrides: Mapping[str, str]) -> GeneratorPreset:
    """Return the preset with `overrides` (text, as typed) in place of its own values.

    Raises:
        UsageError: There is no such preset or setting, or a value makes no sense.
    """
    preset = read_preset(KIND, GeneratorPreset, name, overrides)
    require_known(preset, "method", Method)
    if not 0 <= preset.abstaining < 1 or not 0 <= preset.dropout < 1:
        raise UsageError(
            "A share is out of range.", "abstaining and dropout are at least 0 and below 1.", ""
        )
    for key in ("learning_rate", "epochs"):
        value = getattr(preset, key)
        if not (value > 0 and math.isfinite(value)):
            raise UsageError("A setting is too small.", f"{key} must be above 0.", "")
    if preset.max_tokens < 16 or preset.passages < 1:
        raise UsageError(
            "A setting is too small.", "max_tokens is at least 16, passages at least 1.", ""
        )
    return preset
