"""Whether an adapter fits a base model, told from its files without loading a tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medqa_tui.errors import MedQAError
from medqa_tui.models.adapter_config import AdapterConfig
from medqa_tui.models.base_names import same_base
from medqa_tui.models.files import sha256_file
from medqa_tui.models.shipped import CARD_NAME, WEIGHTS_NAME, AdapterCard, is_reranker
from medqa_tui.models.tensors import Tensor, read_tensors

CAUSAL_TASK = "CAUSAL_LM"
SEQ2SEQ_TASK = "SEQ_2_SEQ_LM"

_TOKENIZER = "tokenizer.json"
_MAX_TOKENIZER = 100_000_000
_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|"
    r"lora_magnitude_vector)(?:\.weight|\.bias)?"
)
_LAYER = re.compile(r"\.(?:layers|block|h)\.(\d+)\.")
_OTHER_TOWERS = ("vision", "audio", "visual")


def check(
    folder: Path,
    base: str,
    *,
    base_folder: Path | None = None,
    revision: str | None = None,
    tokenizer_sha256: str | None = None,
    template_sha256: str | None = None,
) -> list[str]:
    """Return why the adapter in `folder` cannot be used on `base`; empty if it can.

    Args:
        folder: In PEFT format: adapter_config.json and adapter_model.safetensors.
        base: Public id of the model in use.
        base_folder: Where that model is installed; None leaves its shapes and tokenizer unchecked.
        revision: The pinned source of the installed model.
        tokenizer_sha256: Hash of its tokenizer.json; read from `base_folder` if None.
        template_sha256: Hash of the prompt's words; those of this version's two prompts if None.
    """
    try:
        config = AdapterConfig.read(folder)
        tensors = read_tensors(folder / WEIGHTS_NAME)
    except MedQAError as error:
        return [f"{error.title} {error.detail}"]
    if config.base and not same_base(config.base, base):
        return [f"It was made for {config.base}, not for {base}."]
    found = [*config.problems(), *tensor_problems(config, tensors)]
    try:
        found += _card_problems(folder, revision, template_sha256)
        if base_folder is not None:
            model = _read_json(base_folder / "config.json")
            found += task_problems(config, is_seq2seq=bool(model.get("is_encoder_decoder")))
            found += shape_problems(config, tensors, model)
            found += _tokenizer_problems(folder, base_folder, tokenizer_sha256)
    except MedQAError as error:
        found.append(f"{error.title} {error.detail}")
    return found


def adapted_modules(tensors: Iterable[str]) -> tuple[str, ...]:
    """Return the full names of the modules that have LoRA weights, as peft's targets name them."""
    found = {
        match["module"].removeprefix(_PREFIX) for match in map(_PART.fullmatch, tensors) if match
    }
    return tuple(sorted(found))


def tensor_problems(config: AdapterConfig, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return where the weights contradict the configuration beside them."""
    modules = adapted_modules(tensors)
    if not modules:
        return ["Its weights file holds no LoRA weights."]
    for name, tensor in tensors.items():
        match = _PART.fullmatch(name)
        if match is None:
            if not any(f".{saved}." in name for saved in _whole_modules(config)):
                return [f"Its weights hold something that is no LoRA weight: {name[:80]}."]
            continue
        if tensor.dtype not in {"F32", "F16", "BF16", "F64"}:
            return [
                f"Its weights are of the type {tensor.dtype}, which cannot be added to a model."
            ]
        rank = _rank(match["part"], tensor.shape)
        if rank is not None and rank not in config.ranks:
            return [f"Its rank is {config.rank}, but {name[:80]} has the rank {rank}."]
        if match["part"] in {"lora_A", "lora_B"} and _partner(name, match["part"]) not in tensors:
            return [
                f"Its weights are not complete: {_partner(name, match['part'])[:80]} is missing."
            ]
    for target in config.targets:
        if not any(_is_named(module, target) for module in modules):
            return [
                f"Its configuration names the module {target[:80]}, but holds no weights for it."
            ]
    for module in modules:
        if config.targets and not any(_is_named(module, target) for target in config.targets):
            return [f"It holds weights for {module[:80]}, which its configuration does not name."]
    return []


def task_problems(config: AdapterConfig, *, is_seq2seq: bool) -> list[str]:
    """Return whether the adapter was trained for another kind of model."""
    wanted = SEQ2SEQ_TASK if is_seq2seq else CAUSAL_TASK
    if config.task in {"", wanted}:
        return []
    return [f"It was trained for the task {config.task[:40]}; this model's is {wanted}."]


def shape_problems(
    config: AdapterConfig, tensors: Mapping[str, Tensor], model: Mapping[str, Any]
) -> list[str]:
    """Return where the weights do not fit the base model's own configuration.

    Args:
        model: The base model's config.json. Modules that it does not describe are not judged.
    """
    text = model.get("text_config")
    sizes = text if isinstance(text, Mapping) else model
    allowed = {**_decoder_shapes(sizes), **_t5_shapes(sizes)}
    layers = max(
        (
            int(sizes.get(key) or 0)
            for key in ("num_hidden_layers", "num_layers", "num_decoder_layers")
        ),
        default=0,
    )
    for name, tensor in tensors.items():
        match = _PART.fullmatch(name)
        if match is None or any(tower in name for tower in _OTHER_TOWERS):
            continue
        layer = _LAYER.search(name)
        if layer and layers and int(layer[1]) >= layers:
            return [f"It has weights for layer {layer[1]}; the model has {layers} layers."]
        shapes = allowed.get(match["module"].rsplit(".", 1)[-1])
        if shapes is None or match["part"] not in {"lora_A", "lora_B"} or len(tensor.shape) != 2:
            continue
        side = shapes[0] if match["part"] == "lora_A" else shapes[1]
        size = tensor.shape[1] if match["part"] == "lora_A" else tensor.shape[0]
        if size not in side:
            expected = " or ".join(str(each) for each in sorted(side))
            return [
                f"It fits a model of another size: {name[:80]} has {size} instead of {expected}."
            ]
    return []


# -- parts -------------------------------------------------------------------------------------


def _whole_modules(config: AdapterConfig) -> Iterator[str]:
    """Yield the modules that peft saves whole: named ones, and embeddings that were resized."""
    yield from config.saved
    yield from ("embed_tokens", "lm_head", "shared")


def _is_named(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _rank(part: str, shape: tuple[int, ...]) -> int | None:
    if len(shape) < 2:
        return None
    if part in {"lora_A", "lora_embedding_A"}:
        return shape[0]
    return shape[1] if part in {"lora_B", "lora_embedding_B"} else None


def _partner(name: str, part: str) -> str:
    return name.replace(f".{part}", ".lora_B" if part == "lora_A" else ".lora_A")


def _decoder_shapes(model: Mapping[str, Any]) -> dict[str, tuple[set[int], set[int]]]:
    """Return the input and output sizes that the linear layers of Llama-like models can have."""
    hidden, heads = _int(model, "hidden_size"), _int(model, "num_attention_heads")
    if not hidden or not heads:
        return {}
    dims = {_int(model, "head_dim") or hidden // heads, _int(model, "global_head_dim")} - {0}
    groups = {
        _int(model, "num_key_value_heads") or heads,
        _int(model, "num_global_key_value_heads"),
    } - {0}
    asked = {heads * dim for dim in dims}
    # A gate of the attention's output doubles the query (Qwen3-Next, Qwen3.5).
    queries = {size * times for size in asked for times in (1, 2)}
    keys = {group * dim for group in groups for dim in dims}
    shapes = {
        "q_proj": ({hidden}, queries),
        "k_proj": ({hidden}, keys),
        "v_proj": ({hidden}, keys),
        "o_proj": (asked, {hidden}),
    }
    if inner := _inner(model):
        shapes |= {
            "gate_proj": ({hidden}, inner),
            "up_proj": ({hidden}, inner),
            "down_proj": (inner, {hidden}),
        }
    return shapes


def _t5_shapes(model: Mapping[str, Any]) -> dict[str, tuple[set[int], set[int]]]:
    width, heads = _int(model, "d_model"), _int(model, "num_heads")
    if not width or not heads:
        return {}
    inner, wide = {heads * _int(model, "d_kv")}, {_int(model, "d_ff")}
    shapes = dict.fromkeys(("q", "k", "v"), ({width}, inner)) | {"o": (inner, {width})}
    shapes |= dict.fromkeys(("wi", "wi_0", "wi_1"), ({width}, wide))
    return shapes | {"wo": (wide, {width})}


def _inner(model: Mapping[str, Any]) -> set[int]:
    size = model.get("intermediate_size")
    sizes = {int(each) for each in (size if isinstance(size, list) else [size or 0])} - {0}
    # Layers that share their keys may be twice as wide (Gemma's small models).
    return sizes | {2 * each for each in sizes} if model.get("use_double_wide_mlp") else sizes


def _int(model: Mapping[str, Any], key: str) -> int:
    value = model.get(key)
    return value if isinstance(value, int) else 0


def _card_problems(folder: Path, revision: str | None, template: str | None) -> list[str]:
    if not (folder / CARD_NAME).is_file():
        return []
    from medqa_tui.generation.prompt import template_hash

    card = AdapterCard.read(folder)
    found = []
    if revision is not None and card.base_revision != revision:
        found.append(f"It was made for {card.base_revision}, not for {revision}.")
    # A re-ranker reads no prompt.
    has_prompt = not is_reranker(folder)
    known = {template} if template else {template_hash(closed) for closed in (False, True)}
    if has_prompt and card.template_sha256 not in known:
        found.append("It was trained with another prompt than the one in use.")
    if sha256_file(folder / WEIGHTS_NAME) != card.weights_sha256:
        found.append("Its weights are not those that its card was written for.")
    return found


def _tokenizer_problems(folder: Path, base_folder: Path, known: str | None) -> list[str]:
    ours = base_folder / _TOKENIZER
    if (folder / CARD_NAME).is_file() and ours.is_file():
        recorded = _read_json(folder / CARD_NAME).get("tokenizer_sha256")
        if recorded and recorded != (known or sha256_file(ours)):
            return ["It was trained with another tokenizer than the model's."]
        return []
    theirs = folder / _TOKENIZER
    if not theirs.is_file() or not ours.is_file():
        return []
    if _vocabulary(theirs) != _vocabulary(ours):
        return ["It brings a tokenizer with other tokens than the model's."]
    return []


def _vocabulary(path: Path) -> tuple[Any, Any]:
    """Return the tokens of a tokenizer, whichever release of the library wrote it down."""
    row = _read_json(path)
    model = row.get("model") or {}
    vocabulary = model.get("vocab")
    added = {str(token.get("content")): token.get("id") for token in row.get("added_tokens") or ()}
    if isinstance(vocabulary, dict):
        return {**vocabulary, **added}, ()
    return vocabulary, sorted(added.items())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_TOKENIZER:
            raise ValueError("too large")
        row = json.loads(path.read_bytes())
        if not isinstance(row, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise MedQAError("A file cannot be read.", f"{path}: {error}.") from error
    return row
