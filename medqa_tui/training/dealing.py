"""How a sweep draws the settings of its trials, and which trials it ends early."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from medqa_tui.training import study as studies
from medqa_tui.training.search_space import Choices, Space, Value, cells

LOOKS = 8
"""How often a trial is measured on its way."""

_AT_RANDOM_FIRST = 5


class Sampler(StrEnum):
    """How settings are drawn."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"


class Pruner(StrEnum):
    """What ends a trial early."""

    MEDIAN = "median"
    HYPERBAND = "hyperband"
    NONE = "none"


def pruner_of(name: Pruner) -> BasePruner:
    """Return Optuna's pruner; its steps are eighths of a run, whatever its length."""
    if name is Pruner.MEDIAN:
        return MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    if name is Pruner.HYPERBAND:
        return HyperbandPruner(min_resource=1, max_resource=LOOKS, reduction_factor=2)
    return NopPruner()


def draw(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """Return a trial's settings."""
    drawn: dict[str, Value] = {}
    for key, dimension in sorted(space.items()):
        if isinstance(dimension, Choices):
            values = list(dimension.values)
            drawn[key] = cast("Value", trial.suggest_categorical(key, values))
        elif dimension.whole:
            low, high = int(dimension.low), int(dimension.high)
            drawn[key] = trial.suggest_int(key, low, high, log=dimension.log)
        else:
            drawn[key] = trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
    return drawn


class Dealer(BaseSampler):
    """Gives each trial settings that follow from the seed and its number.

    Optuna's samplers draw one sequence a process: two processes with one seed would draw alike, and
    two that share a grid may take the same cell. Numbers are unique in a storage.
    """

    def __init__(self, name: Sampler, space: Space, seed: int) -> None:
        self._name = name
        self._space = space
        self._seed = seed
        self._cells = cells(space, seed) if name is Sampler.GRID else []
        self._cell: Mapping[str, Value] = {}
        self._inner: BaseSampler = RandomSampler(seed)

    @property
    def cells(self) -> int:
        """How many trials a grid has; 0 where it is none."""
        return len(self._cells)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        first = studies.origin(trial)
        if self._name is Sampler.GRID:
            # Beyond the last one the trial is given back anyway.
            self._cell = self._cells[len(studies.fresh(study, first)) % len(self._cells)]
            return
        seed = self._seed * 1_000_003 + first
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._inner = (
                TPESampler(seed=seed, n_startup_trials=_AT_RANDOM_FIRST)
                if self._name is Sampler.TPE
                else RandomSampler(seed)
            )
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {} if self._cell else self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if self._cell else self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._cell:
            return self._cell[param_name]
        return self._inner.sample_independent(study, trial, param_name, param_distribution)
