"""Presets: the settings of a training run, as readable TOML, each of which can be overridden."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from medqa_tui.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Schedule(StrEnum):
    """How the learning rate goes on after the warm-up."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class RerankPreset:
    """The settings of a reranker's training; what each does stands in the preset's file.

    Attributes:
        base: Name of the catalogue's component whose weights the adapter fits.
        pairs: Question-passage pairs to learn from, over the whole run.
        near: How many of the nearest negatives most are drawn from.
        validation: Questions kept out to measure the run, with all that is near them.
    """

    title: str
    base: str
    rank: int
    alpha: int
    pairs: int
    groups: int
    negatives: int
    near: int
    max_tokens: int
    learning_rate: float
    head_learning_rate: float
    schedule: str
    weight_decay: float
    warmup: float
    retrieval_scale: float
    rephrased: float
    headed: float
    cloze: float
    starter_passes: int
    validation: int
    checkpoint_steps: int
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return max(1, self.pairs // (self.groups * (self.negatives + 1)))


_AT_LEAST_ONE = ("rank", "alpha", "pairs", "groups", "negatives", "near", "batch", "accumulation")

Preset = TypeVar("Preset", bound="DataclassInstance")


def preset_names(kind: str) -> list[str]:
    """Return the names of the presets of a kind."""
    folder = resources.files("medqa_tui.training").joinpath("presets")
    names = sorted(e.name.removesuffix(".toml") for e in folder.iterdir() if ".toml" in e.name)
    return [name for name in names if _table(name).get("kind") == kind]


def read_preset(
    kind: str, shape: type[Preset], name: str, overrides: Mapping[str, str] | None = None
) -> Preset:
    """Return the preset `name` with `overrides` (text, as typed) in place of its own values.

    Raises:
        UsageError: There is no such preset or setting, or a value is not of its kind.
    """
    known = preset_names(kind)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Choose one of: {', '.join(known)}."
        raise UsageError("There is no such preset:", f"{name}.", hint)
    table = _table(name)
    table.pop("kind")
    types = {field.name: type(table[field.name]) for field in fields(shape)}
    for key, text in (overrides or {}).items():
        if key not in types:
            near = get_close_matches(key, types, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Settings: {', '.join(types)}."
            raise UsageError("A preset has no such setting:", f"{key}.", hint)
        table[key] = _value(key, text, types[key])
    preset = shape(**table)
    require_known(preset, "schedule", Schedule)
    # A generator's checkpoints may follow its epochs instead.
    steps = () if kind == "generator" else ("checkpoint_steps",)
    for key in (*_AT_LEAST_ONE, *steps):
        if getattr(preset, key, 1) < 1:
            raise UsageError("A setting is too small.", f"{key} must be at least 1.", "")
    return preset


def require_known(preset: DataclassInstance, key: str, kind: type[StrEnum]) -> None:
    """Refuse a setting with a word that is none of `kind`.

    Raises:
        UsageError: It is not known.
    """
    value, known = getattr(preset, key), [str(each) for each in kind]
    if value not in known:
        raise UsageError(
            "A setting has a value that is not known.",
            f"{key} = {value!r}.",
            f"Known: {', '.join(known)}.",
        )


_YES_OR_NO = {"true": True, "yes": True, "false": False, "no": False}


def _value(key: str, text: str, kind: type) -> Any:
    try:
        return _YES_OR_NO[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError) as error:
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(
            "A setting has the wrong kind of value.", f"{key} = {text!r}.", f"Give {expected}."
        ) from error


def _table(name: str) -> dict[str, Any]:
    file = resources.files("medqa_tui.training").joinpath("presets", f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))
