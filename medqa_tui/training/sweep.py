"""A sweep: many trainings with drawn settings, of which the best becomes an adapter."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState

from medqa_tui.errors import ExitCode, MedQAError, UsageError
from medqa_tui.models.files import write_atomic
from medqa_tui.models.records import RECORD_NAME
from medqa_tui.models.shipped import CARD_NAME
from medqa_tui.training import dealing, generator_job, own_model, rerank_job, trials
from medqa_tui.training import study as studies
from medqa_tui.training.dealing import LOOKS, Dealer, Pruner, Sampler
from medqa_tui.training.generator_presets import GeneratorPreset
from medqa_tui.training.job import Tell, saving
from medqa_tui.training.progress import Stopped, TrainEvent
from medqa_tui.training.runs import RunRecorder
from medqa_tui.training.search_space import Space, Value, applied, record_of
from medqa_tui.training.study import Storage
from medqa_tui.training.watching import last_checkpoint

DRAWN_TRIALS = 20
"""Trials of a sweep that draws, where nobody says how many; a grid has all of its cells."""

AnyWanted = generator_job.Wanted | rerank_job.Wanted
AnyPrepared = generator_job.Prepared | rerank_job.Prepared


class _EndedError(Exception):
    """A trial is over: it cannot be trained, or another process began the last one."""


class _PrunedError(MedQAError):
    """A trial is worse than the others were at its point."""

    exit_code = ExitCode.INTERRUPTED


class SweepStopped(MedQAError):
    """The user ended a sweep; its study is kept."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self, study: str) -> None:
        super().__init__(
            "The sweep was stopped.",
            f"The study {study} is kept, with the last checkpoint of its trial.",
            "Type the same command to go on.",
        )


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is searched, and where it is kept.

    Attributes:
        kind: "generator" or "reranker".
        limit: Trials of the whole study, over all processes; None takes what the sampler is for.
        watched: The folder in which a training tells how it is.
    """

    kind: str
    wanted: AnyWanted
    prepared: AnyPrepared
    space: Space
    storage: Storage
    sampler: Sampler
    pruner: Pruner
    limit: int | None
    seed: int
    watched: Path

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same wherever the study is gone on with."""
        fixed = {k: v for k, v in asdict(self.wanted.preset).items() if k not in self.space}
        return {
            "kind": self.kind,
            "base": f"{self.wanted.base_id} {self.wanted.base_revision}",
            "data": {source.name: dict(source.hashes) for source in self.prepared.sources},
            "settings": fixed,
            "space": record_of(self.space),
            "sampler": str(self.sampler),
            "pruner": str(self.pruner),
            "seed": self.seed,
            "output": self.wanted.name,
        }


def run(
    sweep: Sweep,
    on_event: Callable[[int, int, TrainEvent], None],
    on_trial: Callable[[FrozenTrial], None],
    cancel: threading.Event,
) -> optuna.Study:
    """Run trials until the study has as many as are wanted, here or in other processes.

    Args:
        on_event: Called with a trial's number, how many there will be, and what happens in it.
        on_trial: Called with each trial that ended here.

    Raises:
        UsageError: The study is of something else, or nothing can measure its trials.
        SweepStopped: `cancel` was set; the trial under way is gone on with the next time.
        MedQAError: The storage cannot be opened.
    """
    if not _measures(sweep.prepared):
        raise UsageError(
            "A sweep needs questions that measure its trials.",
            "None are kept out: there are fewer than ten, or validation is 0.",
            "Give more data, or --set validation=24",
        )
    dealer = Dealer(sweep.sampler, sweep.space, sweep.seed)
    limit = sweep.limit or dealer.cells or DRAWN_TRIALS
    limit = min(limit, dealer.cells or limit)
    study = studies.open_study(
        sweep.storage, sweep.identity(), dealer, dealing.pruner_of(sweep.pruner)
    )

    begun: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        begun.append(trial.number)
        return _objective(trial, sweep, limit, on_event, cancel)

    while not cancel.is_set():
        studies.reap(study, sweep.storage)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting and len(studies.fresh(study)) >= limit:
            return study
        try:
            study.optimize(
                objective,
                n_trials=1,
                catch=(_EndedError,),
                callbacks=[lambda _, trial: None if studies.is_surplus(trial) else on_trial(trial)],
                gc_after_trial=True,
            )
        # What Optuna raises where a trial was ended from elsewhere depends on where that is seen.
        except (OptunaError, ValueError, AssertionError):
            if not (begun and studies.is_taken_over(study, begun[-1])):
                raise
        _keep_best(study, sweep.storage)
    raise SweepStopped(sweep.storage.study)


def _measures(prepared: AnyPrepared) -> bool:
    if isinstance(prepared, generator_job.Prepared):
        return bool(prepared.held)
    return any(len(group.texts) > 1 for group in prepared.validation)


def _objective(
    trial: optuna.Trial,
    sweep: Sweep,
    limit: int,
    on_event: Callable[[int, int, TrainEvent], None],
    cancel: threading.Event,
) -> float:
    """Train with a trial's settings and return the loss of the weights that it keeps."""
    studies.sign(trial)
    study, number = trial.study, trial.number
    params = dealing.draw(trial, sweep.space)
    first = studies.origin(study.get_trials(deepcopy=False)[number])
    if len(studies.fresh(study, first)) >= limit:
        trial.set_user_attr(studies.SURPLUS, True)
        raise _EndedError
    folder = trials.folder_of(sweep.storage, number)
    work = sweep.storage.folder / f"work-{first}"
    wanted = replace(sweep.wanted, output=folder, work=work)

    def tell(event: TrainEvent) -> None:
        on_event(number, limit, event)
        if event.validation is not None and 0 < event.done < event.total:
            trial.report(event.validation, math.ceil(event.done * LOOKS / event.total))
            if trial.should_prune():
                raise _PrunedError("It was worse than the other trials.")

    name = f"{sweep.storage.study}.{number}"
    try:
        with RunRecorder(sweep.watched, name, sweep.kind, folder, cancel) as recorder:

            def both(event: TrainEvent) -> None:
                recorder(event)
                tell(event)

            try:
                _train(sweep, wanted, params, both, cancel)
            except Stopped:
                raise SweepStopped(sweep.storage.study) from None
        value = _kept_loss(folder, sweep)
        if not math.isfinite(value):
            raise MedQAError("The loss is no number.")
    except _PrunedError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise optuna.TrialPruned from error
    except SweepStopped:
        studies.retry(study, study.get_trials(deepcopy=False)[number])
        raise
    except MedQAError as error:
        # Such as no memory for that batch; the others may do.
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        trial.set_user_attr(studies.REASON, f"{error.title} {error.detail}".strip())
        raise _EndedError from error
    return value


def _train(
    sweep: Sweep,
    wanted: AnyWanted,
    params: dict[str, Value],
    on_event: Tell,
    cancel: threading.Event | None = None,
) -> None:
    """Train with these settings, from the last checkpoint if there is one."""
    preset: Any = applied(sweep.wanted.preset, params)
    resume = last_checkpoint(wanted.work) is not None
    jobs: Any = generator_job if isinstance(wanted, generator_job.Wanted) else rerank_job
    changed, prepared = jobs.with_preset(wanted, sweep.prepared, preset)
    jobs.run(changed, prepared, looks=LOOKS, resume=resume, on_event=on_event, cancel=cancel)


def _kept_loss(folder: Path, sweep: Sweep) -> float:
    """Return the validation loss of the weights that were saved."""
    card = json.loads((folder / CARD_NAME).read_bytes())
    losses = [float(loss) for _, loss in card["validation_losses"]]
    preset = sweep.wanted.preset
    patient = isinstance(preset, GeneratorPreset) and preset.patience > 0
    # With patience the best weights are kept, unless none was better than no training.
    best = min(losses[1:])
    return best if patient and best < losses[0] else losses[-1]


def _keep_best(study: optuna.Study, storage: Storage) -> None:
    """Delete the adapters of trials that are over and were not the best."""
    best = studies.whole(study)
    for trial in best[1:]:
        shutil.rmtree(trials.folder_of(storage, trial.number), ignore_errors=True)


def at_work(study: optuna.Study) -> int:
    """Return how many trials other processes are at."""
    return len(studies.running(study))


def make_adapter(
    sweep: Sweep, study: optuna.Study, on_event: Tell, cancel: threading.Event
) -> FrozenTrial:
    """Make the best trial's adapter the sweep's, with a card that names study and space.

    The adapter that the trial left is taken. Where another machine trained it, its settings are
    trained once more, here.

    Raises:
        MedQAError: No trial came to its end.
        SweepStopped: `cancel` was set.
    """
    finished = studies.whole(study)
    if not finished:
        reasons = [t.user_attrs.get(studies.REASON) for t in study.get_trials(deepcopy=False)]
        why = next((each for each in reasons if each), "All were ended early.")
        raise MedQAError(
            "No trial came to its end.", why, f"medqa-tui train sweep show {study.study_name}"
        )
    best = finished[0]
    folder = trials.folder_of(sweep.storage, best.number)
    with sweep.storage.locked():
        if not (folder / CARD_NAME).is_file():
            work = sweep.storage.folder / f"work-{studies.origin(best)}"
            wanted = replace(sweep.wanted, output=folder, work=work)
            try:
                _train(sweep, wanted, dict(best.params), on_event, cancel)
            except Stopped:
                raise SweepStopped(study.study_name) from None
        with saving(sweep.wanted) as part:
            shutil.copytree(folder, part)
            _write_card(sweep, study, best, part)
    return best


def _write_card(sweep: Sweep, study: optuna.Study, best: FrozenTrial, folder: Path) -> None:
    card = json.loads((folder / CARD_NAME).read_bytes())
    counted = trials.counts(study)
    card["study"] = {
        "name": study.study_name,
        "trial": best.number,
        "validation_loss": best.value,
        "settings": best.params,
        "trials": counted,
        "space": record_of(sweep.space),
        "sampler": str(sweep.sampler),
        "pruner": str(sweep.pruner),
        "seed": sweep.seed,
    }
    trials.write_png(trials.importances(study), folder / trials.PNG)
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / CARD_NAME, text.encode())
    if (folder / RECORD_NAME).is_file():
        # A whole model: its record names the hash of each of its files.
        own_model.record_of(folder, sweep.wanted.name, card).write(folder)
