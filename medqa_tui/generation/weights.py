"""Reading models: NF4 or bf16, on CUDA or the CPU, with a LoRA adapter attached and not merged."""

from __future__ import annotations

import gc
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.generation import prompt
from medqa_tui.generation.device import Attempt, Host, Wanted, host_now, plan
from medqa_tui.models.loading import one_at_a_time
from medqa_tui.models.shipped import CARD_NAME, AdapterCard

_LOG = logging.getLogger(__name__)
_OTHER_PROMPT = "The adapter {name} was trained with another prompt and is left out."
_REPAIR = "Run: medqa-tui doctor --deep, or install again with: medqa-tui setup"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to generate, and how it came to be loaded.

    Attributes:
        adapter: Name of the adapter that is attached, None if there is none.
        abstain_logprob: Least log-probability at which it may decline; None sets no bound.
    """

    model: Any
    tokenizer: Any
    attempt: Attempt
    notices: tuple[tuple[str, str], ...]
    adapter: str | None = None
    abstain_logprob: float | None = None


def nf4_config() -> Any:
    """Return the one quantization that this program uses.

    NF4 with double quantization and bf16 compute, from QLoRA (Dettmers et al. 2023).
    """
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def quiet_libraries() -> None:
    """Keep progress bars and warnings of the heavy libraries off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # On import its CPU backend warns that an optional kernel, fetched from a hub, is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def load(
    model_dir: Path,
    adapter_dir: Path | None = None,
    wanted: Wanted = "auto",
    host: Host | None = None,
) -> Loaded:
    """Load the first attempt of the device plan that works, noting every fall.

    Args:
        model_dir: A transformers folder: saved in NF4, or dense (then quantized while loading).
        adapter_dir: A PEFT folder made for this model.
        host: What the machine can do; looked up if None.

    Raises:
        MedQAError: A folder is missing or damaged, or the adapter is for another model.
        EngineError: No attempt worked.
    """
    _require(model_dir, "config.json", "The model's files are missing.")
    if adapter_dir is not None:
        _require(adapter_dir, "adapter_config.json", "The adapter's files are missing.")
    quiet_libraries()
    tokenizer = _tokenizer(model_dir)
    notices: list[tuple[str, str]] = []
    failures: list[str] = []
    card = _card(adapter_dir) if adapter_dir is not None else None
    if adapter_dir is not None and card and card.template_sha256 != prompt.template_hash():
        notices.append(("adapter_left_out", _OTHER_PROMPT.format(name=adapter_dir.name)))
        adapter_dir = card = None
    for attempt in plan(host or host_now(), wanted):
        if attempt.fall:
            notices.append((f"{attempt.device}_{attempt.quantization}", attempt.reason))
        try:
            with one_at_a_time:
                model = _load_base(model_dir, attempt)
        except Exception as error:
            # Drivers, CUDA libraries and file readers raise all kinds; the next attempt may work.
            _LOG.warning("%s/%s: %s", attempt.device, attempt.quantization, type(error).__name__)
            failures.append(f"{attempt.device} {attempt.quantization}: {error}")
            free_memory()
            continue
        if adapter_dir is not None:
            model = _attach(model, adapter_dir)
        return Loaded(
            model.eval(),
            tokenizer,
            attempt,
            tuple(notices),
            adapter=adapter_dir.name if adapter_dir else None,
            abstain_logprob=card.abstain_logprob if card else None,
        )
    raise EngineError("The language model could not be loaded.", " | ".join(failures), _REPAIR)


def free_memory() -> None:
    """Give back what a failed load or a spent generation still holds."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_quantized(model_dir: Path) -> bool:
    """Tell whether the folder's weights were saved quantized."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return "quantization_config" in config


def _load_base(model_dir: Path, attempt: Attempt) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    saved_in_4bit = is_quantized(model_dir)
    options: dict[str, Any] = {"dtype": torch.bfloat16, "local_files_only": True}
    where = attempt.device
    if attempt.quantization == "nf4":
        if not saved_in_4bit:
            options["quantization_config"] = nf4_config()
    elif saved_in_4bit:
        # Unpacked where 4-bit code works for certain, then moved.
        where = "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, device_map={"": 0 if where == "cuda" else "cpu"}, **options
    )
    if attempt.quantization == "bf16" and saved_in_4bit:
        model = model.dequantize().to(torch.bfloat16).to(attempt.device)
    return model


def _card(adapter_dir: Path) -> AdapterCard | None:
    """Return the adapter's card; adapters from elsewhere have none."""
    return AdapterCard.read(adapter_dir) if (adapter_dir / CARD_NAME).is_file() else None


def _attach(model: Any, adapter_dir: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter_dir), is_trainable=False)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise MedQAError(
            "This adapter does not fit the model.",
            f"{adapter_dir.name}: {type(error).__name__}",
            "Use the adapter that was made for this profile's model.",
        ) from error


def _tokenizer(model_dir: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise MedQAError(
            "The model's tokenizer cannot be read.", str(model_dir), _REPAIR
        ) from error
    if not tokenizer.chat_template:
        raise MedQAError(
            "This model has no chat template, so it cannot be asked.", str(model_dir), _REPAIR
        )
    return tokenizer


def _require(folder: Path, name: str, title: str) -> None:
    if not (folder / name).is_file():
        raise MedQAError(title, str(folder / name), _REPAIR)
