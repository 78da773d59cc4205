"""The trials of a study as a table, and what mattered among what was searched."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from medqa_tui.training import study as studies
from medqa_tui.training.study import Storage

PNG = "importance.png"
FEWEST = 4

_WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def folder_of(storage: Storage, number: int) -> Path:
    """Return where this machine keeps what a trial trained."""
    return storage.folder / f"trial-{number}"


def word_of(trial: FrozenTrial) -> str:
    """Return where a trial stands, in words."""
    return _WORDS[trial.state]


def shown(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that are told of, by number: not those that were given back."""
    every = study.get_trials(deepcopy=False)
    again = {studies.origin(t) for t in every if studies.origin(t) != t.number}
    replaced = {
        t.number for t in every if t.state is TrialState.FAIL and studies.origin(t) in again
    }
    return [t for t in every if not studies.is_surplus(t) and t.number not in replaced]


def counts(study: optuna.Study) -> dict[str, int]:
    """Return how many trials there are in each state."""
    words = [word_of(trial) for trial in shown(study)]
    return {word: words.count(word) for word in _WORDS.values() if word in words}


def record_of(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as JSON holds it."""
    last = trial.last_step
    took = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number,
        "state": word_of(trial),
        "validation_loss": trial.value if trial.state is TrialState.COMPLETE else None,
        "last_loss": None if last is None else trial.intermediate_values[last],
        "settings": trial.params,
        "seconds": None if took is None else round(took, 1),
        "host": trial.user_attrs.get("host"),
        "reason": trial.user_attrs.get(studies.REASON),
    }


def importances(study: optuna.Study) -> dict[str, float]:
    """Return how much each setting mattered, as shares of 1, the largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), over the trials that came to their end;
    nothing where those are too few to say, or all alike.
    """
    done = studies.whole(study)
    if len(done) < FEWEST or len({trial.value for trial in done}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    # Those that mattered alike come in no order of their own.
    return dict(sorted(shares.items(), key=lambda each: (-each[1], each[0])))


def bar(share: float, width: int = 30, *, unicode: bool = True) -> str:
    """Return a bar as long as the share of `width` is."""
    return ("\u2588" if unicode else "#") * max(1, round(share * width))


def write_png(shares: Mapping[str, float], path: Path) -> None:
    """Draw how much each setting mattered, if there is anything to draw, and matplotlib.

    Raises:
        OSError: The file cannot be written.
        ValueError: Its name ends like no kind of picture.
    """
    if not shares or find_spec("matplotlib") is None:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.4 * len(shares)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1])
    axes.set_xlabel("importance (PED-ANOVA)")
    figure.savefig(path, dpi=120)
