"""What a sweep searches: settings of a preset, each a list of values or a range."""

from __future__ import annotations

import itertools
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib import resources
from math import isfinite, prod
from typing import Any

from medqa_tui.errors import UsageError
from medqa_tui.training.generator_presets import GeneratorPreset, Method, read_generator_preset
from medqa_tui.training.presets import RerankPreset, read_preset

Value = int | float | str
AnyPreset = GeneratorPreset | RerankPreset
Params = Mapping[str, Value]

# Settings that change neither the data nor how the run is measured: their losses can be compared.
_SEARCHABLE = {
    "generator": (
        *("learning_rate", "batch", "schedule", "rank", "epochs", "alpha", "dropout"),
        *("accumulation", "warmup", "weight_decay", "max_grad_norm"),
    ),
    "reranker": (
        *("learning_rate", "groups", "schedule", "rank", "pairs", "alpha", "head_learning_rate"),
        *("negatives", "near", "warmup", "weight_decay", "rephrased", "headed", "cloze"),
    ),
}
# Where all weights are trained there is no adapter that these would shape.
_OF_ADAPTER = ("rank", "alpha", "dropout")
_MOST_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class Choices:
    """Values to choose from."""

    values: tuple[Value, ...]

    def record(self) -> Any:
        """Return it as JSON holds it."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Span:
    """All numbers between two.

    Attributes:
        log: Whether they are drawn evenly by their logarithm.
        whole: Whether only whole numbers count.
        grid: What a grid takes of it; empty where nobody said.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    grid: tuple[Value, ...] = ()

    def record(self) -> Any:
        """Return it as JSON holds it."""
        return {"low": self.low, "high": self.high, "log": self.log}


Space = Mapping[str, Choices | Span]


def read_space(
    kind: str, preset: AnyPreset, searched: Sequence[str], fixed: Sequence[str], *, grid: bool
) -> dict[str, Choices | Span]:
    """Return what is searched: what is asked for, or else the default of the kind.

    Args:
        kind: "generator" or "reranker".
        searched: As typed: `rank=4,8,16`, `learning_rate=1e-5:1e-3:log`.
        fixed: Settings that were given a value, which the default space then leaves alone.
        grid: Whether every combination is to be tried.

    Raises:
        UsageError: A setting cannot be searched, or its values are not fit for it.
    """
    idle = _OF_ADAPTER if getattr(preset, "method", "") == Method.FULL else ()
    known = [key for key in _SEARCHABLE[kind] if key not in idle]
    if searched:
        space = dict(_parsed(text, known, preset) for text in searched)
        both = [key for key in space if key in fixed]
        if both:
            raise UsageError(
                "A setting is both given and searched.", f"{both[0]}.", "Leave one of them away."
            )
    else:
        table = _default(kind)
        space = {
            key: _of_toml(value)
            for key, value in table.items()
            if key in known and key not in fixed
        }
    if not space:
        raise UsageError("There is nothing to search.", "", "--search learning_rate=1e-4,1e-3")
    if grid:
        space = {key: _listed(key, dimension) for key, dimension in space.items()}
    _require_fit(space, preset)
    return space


def cells(space: Space, seed: int) -> list[dict[str, Value]]:
    """Return every combination of a space of lists, in an order that the seed decides.

    Raises:
        UsageError: There are far too many.
    """
    lists = [d.values for d in space.values() if isinstance(d, Choices)]
    if prod(map(len, lists)) > _MOST_CELLS:
        raise UsageError(
            "The grid is too large.",
            f"It has {prod(map(len, lists))} combinations.",
            "Search fewer settings, or draw: --sampler random --trials 20",
        )
    found = [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]
    random.Random(seed).shuffle(found)  # noqa: S311 - repeatable, not secret
    return found


def record_of(space: Space) -> dict[str, Any]:
    """Return the space as JSON holds it."""
    return {key: dimension.record() for key, dimension in sorted(space.items())}


def applied(preset: AnyPreset, params: Params) -> AnyPreset:
    """Return the preset with what a trial has drawn; alpha follows the rank in its ratio."""
    changed: dict[str, Any] = dict(params)
    if "rank" in changed and "alpha" not in changed:
        changed["alpha"] = max(1, round(int(changed["rank"]) * preset.alpha / preset.rank))
    return replace(preset, **changed)


def _default(kind: str) -> dict[str, Any]:
    file = resources.files("medqa_tui.training").joinpath("spaces", f"{kind}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _of_toml(value: Any) -> Choices | Span:
    if isinstance(value, list):
        return Choices(tuple(value))
    return Span(value["low"], value["high"], log=value["log"], grid=tuple(value["grid"]))


def _parsed(text: str, known: Sequence[str], preset: AnyPreset) -> tuple[str, Choices | Span]:
    key, equals, values = text.partition("=")
    key = key.strip()
    if key not in known:
        near = get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Searchable: {', '.join(known)}."
        raise UsageError("This setting cannot be searched:", f"{key}.", hint)
    example = f"--search {key}=A,B,C or --search {key}=LOW:HIGH or {key}=LOW:HIGH:log"
    if not equals or not values.strip():
        raise UsageError("A search needs values.", f"--search {text}.", example)
    kind = type(getattr(preset, key))
    if ":" not in values:
        listed = (_value(key, each, kind, example) for each in values.split(","))
        return key, Choices(tuple(dict.fromkeys(listed)))
    low, high, *rest = values.split(":")
    if kind is str or rest not in ([], ["log"]):
        raise UsageError("This is no range:", f"{text}.", example)
    span = Span(
        float(_value(key, low, kind, example)),
        float(_value(key, high, kind, example)),
        log=bool(rest),
        whole=kind is int,
    )
    if span.low >= span.high:
        raise UsageError("A range is empty.", f"{text}.", "The smaller number comes first.")
    if span.log and span.low <= 0:
        raise UsageError("A logarithm needs numbers above 0.", f"{text}.", example)
    return key, span


def _value(key: str, text: str, kind: type, example: str) -> Value:
    try:
        value: Value = kind(text.strip())
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(
            "A value is not of the setting's kind.", f"{key}: {text!r} is not {expected}.", example
        ) from error
    if isinstance(value, float) and not isfinite(value):
        raise UsageError("A value is no number.", f"{key}: {text!r}.", example)
    return value


def _listed(key: str, dimension: Choices | Span) -> Choices:
    if isinstance(dimension, Choices):
        return dimension
    if not dimension.grid:
        middle = (dimension.low * dimension.high) ** 0.5 if dimension.log else 0.0
        middle = middle or (dimension.low + dimension.high) / 2
        points = ",".join(f"{each:.3g}" for each in (dimension.low, middle, dimension.high))
        raise UsageError(
            "A grid needs lists of values.",
            f"{key} is a range.",
            f"Name its values: --search {key}={points}",
        )
    return Choices(dimension.grid)


def _require_fit(space: Space, preset: AnyPreset) -> None:
    """Have every value, and the ends of every range, checked as `--set` would."""
    for key, dimension in space.items():
        ends = (
            dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
        )
        for value in ends:
            whole = isinstance(dimension, Span) and dimension.whole
            _check(preset, {key: int(value) if whole else value})


def _check(preset: AnyPreset, params: Params) -> None:
    changed = applied(preset, params)
    given = {
        field.name: str(getattr(changed, field.name))
        for field in fields(changed)
        if field.name != "title"
    }
    if isinstance(changed, GeneratorPreset):
        read_generator_preset("starter", given)
    else:
        read_preset("reranker", RerankPreset, "starter-rerank", given)
