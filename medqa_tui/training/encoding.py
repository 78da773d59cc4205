"""Lessons as token ids: the loss is on the answer alone, and an answer always ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medqa_tui.errors import UsageError
from medqa_tui.generation.chat import Chat
from medqa_tui.training.examples import Lesson

IGNORED = -100
"""The label that a loss leaves out."""

_SHORTEST = 8
"""Tokens of an answer that must find room, its end mark among them."""

_WIDTH = 64
_STEP = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One lesson's ids.

    Attributes:
        inputs: What the model reads: prompt and answer, or for an encoder the prompt alone.
        labels: As many as `inputs` for a decoder, -100 where nothing is learnt; else the answer.
    """

    inputs: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learnt(self) -> int:
        """Tokens that the loss is on."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows, how many answers were cut, and how many lessons had no room for any answer."""

    rows: tuple[Row, ...]
    cut: int
    left_out: int


def end_of_turn(model_dir: Path, tokenizer: Any) -> int:
    """Return the token that ends an answer in the model's own chat template.

    Some families end a turn by another token than a text; both end a generation.
    """
    from transformers import GenerationConfig

    ends = {tokenizer.eos_token_id}
    if (model_dir / "generation_config.json").is_file():
        given = GenerationConfig.from_pretrained(model_dir, local_files_only=True).eos_token_id
        ends |= set(given if isinstance(given, list) else [given]) - {None}
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
        ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        last = next((each for each in reversed(ids) if each in ends), None)
        if last is not None:
            return int(last)
    return int(tokenizer.eos_token_id)


def encode(
    lessons: Sequence[Lesson], tokenizer: Any, end: int, max_tokens: int, *, seq2seq: bool
) -> Encoded:
    """Return the ids of every lesson that has room for some of its answer.

    Args:
        end: The token that ends an answer; it is kept where an answer is cut.
        max_tokens: Of prompt and answer together, or of each for an encoder-decoder.

    Raises:
        UsageError: No lesson has room.
    """
    chat = Chat(tokenizer, plain=seq2seq)
    rows, cut, needs = [], 0, []
    for lesson in lessons:
        said = tokenizer(lesson.answer, add_special_tokens=False)["input_ids"]
        asked = chat.render(lesson.messages)
        if seq2seq:
            if lesson.evidence is None:
                # Without the words that ask a chat model: the question as the Flan-T5s were asked.
                asked = chat.cut(lesson.messages[-1]["content"], max_tokens)
            room = max_tokens if len(asked) <= max_tokens else 0
        else:
            room = max_tokens - len(asked)
        needs.append(max(len(asked), len(said) + 1) if seq2seq else len(asked) + len(said) + 1)
        if room < min(_SHORTEST, len(said) + 1):
            continue
        cut += len(said) >= room
        answer = (*said[: room - 1], end)
        if seq2seq:
            rows.append(Row(tuple(asked), answer))
        else:
            rows.append(Row((*asked, *answer), (*([IGNORED] * len(asked)), *answer)))
    if not rows:
        enough = -(-max(needs) // _STEP) * _STEP
        raise UsageError(
            "Nothing of any answer would be learnt.",
            f"All {len(lessons)} prompts fill the {max_tokens} tokens of a row; with its answer "
            f"the longest has {max(needs)}.",
            f"Allow more: --set max_tokens={enough}",
        )
    return Encoded(tuple(rows), cut, len(lessons) - len(rows))


def batches(
    rows: Sequence[Row], size: int, epochs: float, seed: int, *, by_length: bool
) -> list[list[Row]]:
    """Return the batches of the whole run in the order they are learnt, epoch after epoch.

    Args:
        by_length: Rows of like length share a batch, so that little is padded.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    per_epoch = -(-len(rows) // size)
    wanted = max(1, round(per_epoch * epochs))
    made: list[list[Row]] = []
    while len(made) < wanted:
        order = list(rows)
        draw.shuffle(order)
        if by_length:
            # Sorted within large shares only: the same rows do not always meet.
            share = size * max(4, len(order) // (size * 4))
            parts = [order[at : at + share] for at in range(0, len(order), share)]
            order = [row for part in parts for row in sorted(part, key=lambda r: -len(r.inputs))]
        epoch = [order[at : at + size] for at in range(0, len(order), size)]
        if by_length:
            draw.shuffle(epoch)
        made += epoch
    return made[:wanted]


def collate(rows: Sequence[Row], pad: int, *, seq2seq: bool) -> dict[str, torch.Tensor]:
    """Pad on the right; labels are -100 there.

    A decoder gets no mask: attention is causal, so what follows an answer changes nothing before
    it. Its rows are padded to a multiple of 64: few different widths let the CPU's matrix kernels
    be prepared once. With masks and ragged widths a step was ten times slower.
    """
    if not seq2seq:
        width = -(-max(len(row.inputs) for row in rows) // _WIDTH) * _WIDTH
        return {
            "input_ids": torch.tensor([_padded(row.inputs, width, pad) for row in rows]),
            "labels": torch.tensor([_padded(row.labels, width, IGNORED) for row in rows]),
        }
    width = max(len(row.inputs) for row in rows)
    longest = max(len(row.labels) for row in rows)
    return {
        "input_ids": torch.tensor([_padded(row.inputs, width, pad) for row in rows]),
        "attention_mask": torch.tensor([_padded([1] * len(row.inputs), width, 0) for row in rows]),
        "labels": torch.tensor([_padded(row.labels, longest, IGNORED) for row in rows]),
    }


def pad_id(tokenizer: Any) -> int:
    """Return what fills a row up; some tokenizers have no token of its own for that."""
    own = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if own is None else own)


def _padded(ids: Sequence[int], width: int, pad: int) -> list[int]:
    return [*ids, *([pad] * (width - len(ids)))]
