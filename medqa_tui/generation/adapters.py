"""The LoRA adapters of one loaded model: a few in memory, one or none in use, never merged."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medqa_tui.errors import MedQAError
from medqa_tui.generation import prompt
from medqa_tui.generation.faults import device_broken, is_device_broken, is_out_of_memory
from medqa_tui.models.loading import one_at_a_time
from medqa_tui.models.shipped import CARD_NAME, WEIGHTS_NAME, AdapterCard

# A rank-16 adapter of an 8B model takes some 160 MB in fp32.
_KEPT = 3


class Adapters:
    """What is attached to `base`, which is loaded once and never changes.

    Attributes:
        base: The model without adapters.
        name: Folder name of the adapter in use, None if there is none.
        card: Its card; adapters from elsewhere have none.
    """

    def __init__(self, base: Any) -> None:
        self.base = base
        self.name: str | None = None
        self.card: AdapterCard | None = None
        self._peft: Any = None
        # By where the adapter lies and what its weights file was then; least recently used first.
        self._kept: dict[tuple[str, int, int], str] = {}
        self._numbers = itertools.count(1)

    @property
    def model(self) -> Any:
        """What generates: the base, inside of peft's model once an adapter was attached."""
        return self.base if self._peft is None else self._peft

    @property
    def abstain_logprob(self) -> float | None:
        """Least log-probability at which the model may decline; None sets no bound."""
        return self.card.abstain_logprob if self.card else None

    def unused_to(self, closed_book: bool) -> str:
        """Return, in words, that the adapter in use was trained to be asked in the other way.

        Args:
            closed_book: Whether it is asked to answer from memory.
        """
        own = prompt.template_hash(closed_book)
        if self.card is None or self.card.template_sha256 == own:
            return ""
        learnt = "from evidence, not from memory" if closed_book else "from memory, not evidence"
        return f"The adapter {self.name} was trained to answer {learnt}."

    @property
    def kept(self) -> int:
        """How many adapters are in memory."""
        return len(self._kept)

    def use(self, folder: Path | None) -> None:
        """Put the adapter in `folder`, or none, to use. When that fails, nothing has changed.

        Raises:
            MedQAError: It does not fit this model.
        """
        if folder is None:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
            self.name = self.card = None
            return
        card = read_card(folder)
        key = _key(folder)
        known = self._kept.get(key) or self._load(folder)
        self._activate(known)
        self._kept.pop(key, None)
        self._kept[key] = known
        self.name, self.card = folder.name, card
        while len(self._kept) > _KEPT:
            oldest = next(iter(self._kept))
            self._peft.delete_adapter(self._kept.pop(oldest))

    def _activate(self, name: str) -> None:
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(name, inference_mode=True)
        self._peft.eval()

    def _load(self, folder: Path) -> str:
        """Load an adapter beside those that are there, and return its name in peft."""
        from peft import PeftConfig, get_peft_model

        name = f"adapter_{next(self._numbers)}"
        try:
            with one_at_a_time, _untouched(self.base), warnings.catch_warnings():
                # Of names in transformers that peft still uses.
                warnings.simplefilter("ignore", FutureWarning)
                config = PeftConfig.from_pretrained(str(folder))
                config.inference_mode = True
                # Whoever made it had the base elsewhere, which peft would warn of.
                config.base_model_name_or_path = None
                if self._peft is None:
                    self._peft = get_peft_model(self.base, config, adapter_name=name)
                result = self._peft.load_adapter(str(folder), name, is_trainable=False)
            if result.missing_keys or result.unexpected_keys:
                raise ValueError("other modules than the model's")
        except Exception as error:
            # peft, torch and safetensors raise all kinds for files that do not fit.
            if is_device_broken(error):
                raise device_broken() from error
            self._forget(name)
            raise _misfit(folder, error) from error
        return name

    def _forget(self, name: str) -> None:
        """Undo a load that failed, and put what was in use before to use again."""
        if not self._kept:
            _strip(self.base)
            self._peft = None
            return
        if name in self._peft.peft_config:
            self._peft.delete_adapter(name)
        if self.name is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._activate(next(reversed(self._kept.values())))


def read_card(folder: Path) -> AdapterCard | None:
    """Return the adapter's card; adapters from elsewhere have none."""
    return AdapterCard.read(folder) if (folder / CARD_NAME).is_file() else None


def other_prompt(card: AdapterCard | None) -> bool:
    """Tell whether the adapter was trained with other words than this version's prompts."""
    known = {prompt.template_hash(closed) for closed in (False, True)}
    return card is not None and card.template_sha256 not in known


def _key(folder: Path) -> tuple[str, int, int]:
    try:
        found = (folder / WEIGHTS_NAME).stat()
    except OSError as error:
        raise MedQAError(
            "The adapter's files are missing.",
            str(folder / WEIGHTS_NAME),
            "Run: medqa-tui doctor --deep, or install again with: medqa-tui setup",
        ) from error
    return str(folder.resolve()), found.st_mtime_ns, found.st_size


@contextmanager
def _untouched(base: Any) -> Iterator[None]:
    """Keep the base's 4-bit weights as they are while peft asks for the names of its tensors.

    On the CPU bitsandbytes repacks them for its kernels at the first use, and unpacks them again
    where a state dict is asked for: slowly, and with rounded scales.
    """
    weights = [getattr(module, "weight", None) for module in base.modules()]
    states: list[Any] = [getattr(weight, "quant_state", None) for weight in weights]
    packed = [state for state in states if getattr(state, "packing_format_for_cpu", False)]
    try:
        for state in packed:
            state.packing_format_for_cpu = False
        yield
    finally:
        for state in packed:
            state.packing_format_for_cpu = True


def _strip(base: Any) -> None:
    """Put the base's own layers back where a failed attempt left peft's around them."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for name, module in list(base.named_modules()):
        parent, _, child = name.rpartition(".")
        if isinstance(module, BaseTunerLayer):
            setattr(base.get_submodule(parent), child, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            setattr(base.get_submodule(parent), child, module.original_module)
    if hasattr(base, "peft_config"):
        del base.peft_config


def _misfit(folder: Path, error: BaseException) -> MedQAError:
    if is_out_of_memory(error):
        return MedQAError(
            "There is not enough memory for this adapter.",
            folder.name,
            "Close other programs, or go without it: medqa-tui adapter use none",
        )
    return MedQAError(
        "This adapter does not fit the model.",
        f"{folder.name}: {type(error).__name__}",
        "Use the adapter that was made for this profile's model.",
    )
