"""A model file from the package index, quantized to NF4 once and saved for every later start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medqa_tui.errors import MedQAError
from medqa_tui.models.files import sync_folder, sync_tree

Progress = Callable[[float, str], None]


def quantize_gguf(gguf: Path, out: Path, on_progress: Progress | None = None) -> None:
    """Unpack a GGUF file, quantize it to NF4 and save model and tokenizer in `out`.

    Written beside `out`, flushed to disk and renamed, so `out` is whole or absent. What a killed
    run left is removed by the next.

    Args:
        gguf: A GGUF file with a chat template, of an architecture that transformers reads.
        out: The folder to make; replaced if it is there.
        on_progress: Called with a fraction in [0, 1] and what is being done.

    Raises:
        MedQAError: The file cannot be read, has no chat template, or what was saved differs.
    """
    if not gguf.is_file():
        raise MedQAError("The model file is missing.", str(gguf), "Run: medqa-tui setup")
    tell = on_progress or _silent
    staging = out.parent / f".{out.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        dense, made = staging / "dense", staging / "nf4"
        tell(0.0, "Unpacking the model")
        _unpack(gguf, dense)
        tell(0.5, "Quantizing to 4 bits")
        quantize_folder(dense, made)
        tell(0.9, "Checking what was saved")
        _check_saved(dense, made)
        _publish(made, out)
        tell(1.0, "Model ready")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def quantize_folder(dense: Path, out: Path) -> None:
    """Quantize a dense transformers folder to NF4 on the CPU and save it, tokenizer included."""
    import torch
    from transformers import AutoTokenizer

    from medqa_tui.generation.weights import auto_class, nf4_config, quiet_libraries
    from medqa_tui.models.loading import one_at_a_time

    quiet_libraries()
    with one_at_a_time:
        model = auto_class(dense).from_pretrained(
            dense,
            quantization_config=nf4_config(),
            dtype=torch.bfloat16,
            device_map={"": "cpu"},
            local_files_only=True,
        )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(dense, local_files_only=True).save_pretrained(out)


def _unpack(gguf: Path, dense: Path) -> None:
    """Save the GGUF file as a plain bf16 folder.

    Quantizing while unpacking is not possible: transformers takes one quantization at a time.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from medqa_tui.generation.weights import quiet_libraries
    from medqa_tui.models.loading import one_at_a_time

    quiet_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        with one_at_a_time:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MedQAError(
            "The model file cannot be read.",
            f"{gguf}: {error}",
            "Download it again with: medqa-tui setup",
        ) from error
    _settle_ends(model, tokenizer)
    model.save_pretrained(dense)
    tokenizer.save_pretrained(dense)


def _settle_ends(model: Any, tokenizer: Any) -> None:
    """Make the end of a chat turn the end of generation, as the tokenizer has it."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _check_saved(dense: Path, made: Path) -> None:
    """Compare what was saved with what was meant: chat template, end of sequence, 4-bit weights."""
    from transformers import AutoTokenizer, GenerationConfig

    from medqa_tui.generation.weights import is_quantized

    before = AutoTokenizer.from_pretrained(dense, local_files_only=True)
    after = AutoTokenizer.from_pretrained(made, local_files_only=True)
    ends = GenerationConfig.from_pretrained(made, local_files_only=True).eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    faults = [
        name
        for name, fine in (
            ("no chat template", bool(after.chat_template)),
            ("another chat template", after.chat_template == before.chat_template),
            ("no end-of-sequence token", after.eos_token_id is not None),
            ("another end-of-sequence token", after.eos_token_id in ends),
            ("weights not in 4 bits", is_quantized(made)),
        )
        if not fine
    ]
    if faults:
        raise MedQAError(
            "The quantized model is not what was meant.",
            ", ".join(faults),
            "Please report this; the extractive generator works without it.",
        )


def _publish(made: Path, out: Path) -> None:
    """Flush `made` to disk and rename it to `out`."""
    sync_tree(made)
    if out.exists():
        out.rename(made.parent / "old")
    made.rename(out)
    sync_folder(out.parent)


def _silent(fraction: float, message: str) -> None:
    del fraction, message
