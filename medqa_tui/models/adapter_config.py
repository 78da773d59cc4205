"""An adapter's PEFT configuration: read as untrusted, and rewritten to only what LoRA needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medqa_tui.errors import MedQAError

CONFIG_NAME = "adapter_config.json"
_MAX_BYTES = 1_000_000
_MAX_RANK = 1024
# The patterns become regular expressions in peft: without groups none of them can hang.
_PATTERN = re.compile(r"[\w.^$*+?\\\[\]|-]{1,200}")

# Settings that make peft import a module, read another folder or rebuild the base.
_REFUSED = {
    "megatron_config": "it needs Megatron",
    "arrow_config": "it is a router over other adapters",
    "layer_replication": "it repeats layers of its base",
    "use_bdlora": "it is split over several machines",
}
# These ways of starting change the weights of the base itself (see peft's LoraConfig).
_REBASED = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What adapter_config.json says, as far as this program looks.

    Attributes:
        base: The base model's name as its maker's tools wrote it; often a path.
        task: `CAUSAL_LM`, `SEQ_2_SEQ_LM`, another of peft's task types, or empty.
        ranks: Every rank that a module may have.
        targets: Names, or the ends of names, of the adapted modules; empty if a pattern names them.
        saved: Names of modules that are replaced as a whole.
        row: All of the file.
    """

    kind: str
    base: str
    task: str
    rank: int
    ranks: frozenset[int]
    targets: tuple[str, ...]
    saved: tuple[str, ...]
    row: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the configuration in `folder`.

        Raises:
            MedQAError: There is none, or it makes no sense.
        """
        path = folder / CONFIG_NAME
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError("too large")
            row = json.loads(path.read_bytes())
            return cls._of_row(row)
        except OSError as error:
            reason = error.strerror or str(error)
            raise _unreadable(path, reason) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _unreadable(path, "it cannot be understood") from error

    @classmethod
    def _of_row(cls, row: dict[str, Any]) -> Self:
        rank = row.get("r", 0)
        patterns = row.get("rank_pattern") or {}
        targets = row.get("target_modules") or ()
        return cls(
            kind=str(row.get("peft_type", "")),
            base=str(row.get("base_model_name_or_path") or ""),
            task=str(row.get("task_type") or ""),
            rank=int(rank),
            ranks=frozenset({int(rank), *(int(each) for each in patterns.values())}),
            targets=() if isinstance(targets, str) else tuple(str(each) for each in targets),
            saved=tuple(str(each) for each in row.get("modules_to_save") or ()),
            row=row,
        )

    def problems(self) -> list[str]:
        """Return why this program cannot attach such an adapter, in words."""
        if self.kind != "LORA":
            return [f"It is of the kind {self.kind or 'unknown'}; only LoRA adapters can be used."]
        found = [
            f"It cannot be used here: {why}." for key, why in _REFUSED.items() if self._has(key)
        ]
        if not all(1 <= rank <= _MAX_RANK for rank in self.ranks):
            found.append(f"Its rank is {max(self.ranks)}; 1 to {_MAX_RANK} can be used.")
        started = self.row.get("init_lora_weights")
        if isinstance(started, str) and started.lower().startswith(_REBASED):
            found.append(f"It changes the weights of its base as well ({started[:20]}).")
        for key in ("rank_pattern", "alpha_pattern"):
            names = self.row.get(key) or {}
            if not all(_PATTERN.fullmatch(str(name)) for name in names):
                found.append(f"Its {key} holds a pattern that cannot be used.")
        return found

    def cleaned(self, base: str, modules: Sequence[str]) -> dict[str, Any]:
        """Return the configuration to install, bound to `base`.

        Args:
            base: The catalog's id of the base model.
            modules: Full names of the adapted modules, as the weights name them. They take the
                place of a pattern, which peft would run as a regular expression.
        """
        row = {key: value for key, value in self.row.items() if key not in _REFUSED}
        row |= {
            "base_model_name_or_path": base,
            "revision": None,
            "auto_mapping": None,
            "inference_mode": True,
        }
        if modules and (not self.targets or self._has("layers_to_transform", "exclude_modules")):
            row |= {
                "target_modules": sorted(modules),
                "exclude_modules": None,
                "layers_to_transform": None,
                "layers_pattern": None,
            }
        return row

    def _has(self, *keys: str) -> bool:
        return any(self.row.get(key) for key in keys)


def _unreadable(path: Path, reason: str) -> MedQAError:
    return MedQAError(
        "This is no adapter in PEFT format.",
        f"{path}: {reason}.",
        f"A folder or a hub id with {CONFIG_NAME} and adapter_model.safetensors is needed.",
    )
