"""Reading models: NF4, bf16 or fp32, on CUDA or the CPU, causal or encoder-decoder."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.generation.adapters import Adapters, other_prompt, read_card
from medqa_tui.generation.device import Attempt, Host, Wanted, host_now, plan
from medqa_tui.models.loading import one_at_a_time

_LOG = logging.getLogger(__name__)
ADAPTER_LEFT_OUT = "adapter_left_out"
"""Code of the notice of an adapter that could not be used with this version's prompt."""

_OTHER_PROMPT = "The adapter {name} was trained with another prompt and is left out."
_REPAIR = "Run: medqa-tui doctor --deep, or install again with: medqa-tui setup"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to generate, its adapters, and how it came to be loaded.

    Attributes:
        adapters: The base model and what is attached to it.
        seq2seq: It is an encoder-decoder model, without a chat template.
    """

    adapters: Adapters
    tokenizer: Any
    attempt: Attempt
    notices: tuple[tuple[str, str], ...]
    seq2seq: bool = False

    @property
    def model(self) -> Any:
        """What generates, with the adapter in use."""
        return self.adapters.model

    @property
    def adapter(self) -> str | None:
        """Name of the adapter in use, None if there is none."""
        return self.adapters.name

    @property
    def abstain_logprob(self) -> float | None:
        """Least log-probability at which it may decline; None sets no bound."""
        return self.adapters.abstain_logprob


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
    # It warns of settings in a model's own folder that greedy decoding does not use.
    transformers_logging.set_verbosity_error()
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
    seq2seq = is_seq2seq(model_dir)
    tokenizer = _tokenizer(model_dir, chat=not seq2seq)
    notices: list[tuple[str, str]] = []
    if adapter_dir is not None and other_prompt(read_card(adapter_dir)):
        notices.append((ADAPTER_LEFT_OUT, _OTHER_PROMPT.format(name=adapter_dir.name)))
        adapter_dir = None
    dense_first = seq2seq and not is_quantized(model_dir)
    attempts = plan(host or host_now(), wanted, dense_first=dense_first)
    model, attempt = _first_that_loads(model_dir, attempts, notices)
    adapters = Adapters(model.eval())
    adapters.use(adapter_dir)
    return Loaded(adapters, tokenizer, attempt, tuple(notices), seq2seq)


def _first_that_loads(
    model_dir: Path, attempts: tuple[Attempt, ...], notices: list[tuple[str, str]]
) -> tuple[Any, Attempt]:
    """Return the model and how it was loaded, adding a notice for every fall on the way."""
    failures: list[str] = []
    for attempt in attempts:
        if attempt.fall:
            notices.append((f"{attempt.device}_{attempt.quantization}", attempt.reason))
        try:
            with one_at_a_time:
                return _load_base(model_dir, attempt), attempt
        except Exception as error:
            # Drivers, CUDA libraries and file readers raise all kinds; the next attempt may work.
            _LOG.warning("%s/%s: %s", attempt.device, attempt.quantization, type(error).__name__)
            failures.append(f"{attempt.device} {attempt.quantization}: {error}")
        # Outside the handler, where the error and the tensors it holds are gone.
        free_memory()
    raise EngineError("The language model could not be loaded.", " | ".join(failures), _REPAIR)


def free_memory() -> None:
    """Give back what a failed load or a spent generation still holds."""
    import torch

    gc.collect()
    # A GPU that has just failed fails here as well.
    with contextlib.suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_seq2seq(model_dir: Path) -> bool:
    """Tell whether the folder holds an encoder-decoder model, such as Flan-T5."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("is_encoder_decoder"))


def auto_class(model_dir: Path) -> Any:
    """Return the transformers class that loads the folder's model."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if is_seq2seq(model_dir) else AutoModelForCausalLM


def is_quantized(model_dir: Path) -> bool:
    """Tell whether the folder's weights were saved quantized."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return "quantization_config" in config


def _load_base(model_dir: Path, attempt: Attempt) -> Any:
    import torch

    saved_in_4bit = is_quantized(model_dir)
    # Never fp16, in which T5 overflows.
    dtype = torch.float32 if attempt.quantization == "fp32" else torch.bfloat16
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    where = attempt.device
    if attempt.quantization == "nf4":
        if not saved_in_4bit:
            options["quantization_config"] = nf4_config()
    elif saved_in_4bit:
        # Unpacked where 4-bit code works for certain, then moved.
        where = "cpu"
    model = auto_class(model_dir).from_pretrained(
        model_dir, device_map={"": 0 if where == "cuda" else "cpu"}, **options
    )
    if attempt.quantization != "nf4" and saved_in_4bit:
        model = model.dequantize().to(dtype).to(attempt.device)
    return model


def _tokenizer(model_dir: Path, *, chat: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise MedQAError(
            "The model's tokenizer cannot be read.", str(model_dir), _REPAIR
        ) from error
    if chat and not tokenizer.chat_template:
        raise MedQAError(
            "This model has no chat template, so it cannot be asked.", str(model_dir), _REPAIR
        )
    return tokenizer


def _require(folder: Path, name: str, title: str) -> None:
    if not (folder / name).is_file():
        raise MedQAError(title, str(folder / name), _REPAIR)
