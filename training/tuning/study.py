"""Search on this machine: Optuna suggests options, each trial trains a backbone with them.

    OUT/study.json   the space, the other options, and the data's fingerprint
    OUT/study.db     Optuna's trials, SQLite: optuna-dashboard sqlite:///OUT/study.db
    OUT/trials/      checkpoints of unfinished trials
    OUT/cache/       decoded images, shared by all trials (unless --set cache names another folder)

The sampler is TPE (Bergstra et al., 2011). A trial whose accuracy is below the median of earlier
ones after the same epoch is pruned. In a grid, every combination is trained to its end instead. The
same command resumes a search, and an interrupted trial from its last complete epoch.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from augrank.errors import DataError
from augrank.files import LOCK, disk_errors, exclusive_lock, read_json, write_json
from training.backbone.train import train_backbone, use_threads
from training.backbone.trainer import TrainingDiverged
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig, with_defaults
from training.data.classify_dataset import ClassifyDataset
from training.data.dataset import Dataset, task_data
from training.run.epoch import Epoch
from training.run.folder import RunFolder
from training.tuning.figures import TrialFigures, trial_figures
from training.tuning.space import Range, Space, Value
from training.tuning.trials import State, Trial, best_trial, format_value, write_results

# No trial is pruned before this many are complete, nor in its own first epochs.
STARTUP_TRIALS, WARMUP_EPOCHS = 4, 2
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
REASON, SECONDS, FIGURES = "reason", "seconds", "figures"
# Errors that end a trial but not the search: divergence, a batch that exceeds the memory.
TRIAL_ERRORS = (TrainingDiverged, RuntimeError, MemoryError)


def tune(
    config: FitConfig, space: Space, out: Path, *, trials: int, ctx: TrainContext
) -> list[Trial]:
    """Start a search, or resume one.

    Args:
        config: the options that are not searched; ``out`` is not used.
        space: the options that are searched.
        out: folder of the study.
        trials: total number, those of earlier calls included; a grid has its own number.
        ctx: shows progress; its device is chosen by ``config``.

    Returns:
        All finished trials.

    Raises:
        DataError: the data is not valid, the folder contains another study, or another process is
            working on it.
    """
    space.check(config)
    source = task_data(config.task)
    manifest = source.read_manifest(config)  # before the folder is created
    remedy = "Free space there and run the same command to continue, or give another --out."
    busy = f"another process is working in {out}"
    with disk_errors(out, remedy), exclusive_lock(out / LOCK, busy):
        own = {"out": out / "trials" / "data", "cache": config.cache or out / "cache"}
        config = config.model_copy(update=own)
        data = source.load_dataset(config, manifest, ctx)
        _check_study(out, config, space, data)
        device = Device.choose(config.device, config.precision)
        ctx = use_threads(data, ctx.on(device))
        with _open_study(out, config.seed) as study:
            _run_trials(study, _Objective(data, space, ctx), out, trials)
            results = _results(study)
        shutil.rmtree(out / "trials", ignore_errors=True)
    return results


def _run_trials(study: optuna.Study, objective: "_Objective", out: Path, trials: int) -> None:
    """Run trials up to the wanted number, and write the results after each."""
    config, space, reporter = objective.data.config, objective.space, objective.ctx.reporter
    initial = list(space.combinations()) if space.is_grid else [_defaults(config, space)]
    _enqueue(study, [*_interrupted(study, space), *initial])
    trials = len(initial) if space.is_grid else trials
    finished = _finished_digests if space.is_grid else _finished
    while (count := len(finished(study))) < trials:
        reporter.say(f"Trial {count + 1} of {trials}", style="heading")
        study.optimize(objective, n_trials=1, catch=TRIAL_ERRORS)
        results = _results(study)
        write_results(out, config, space, results)
        reporter.say(_line(results[-1], best_trial(results)))


class _Objective:
    """The objective: trains one trial, and returns its validation accuracy."""

    def __init__(self, data: Dataset, space: Space, ctx: TrainContext) -> None:
        self.data, self.space, self.ctx = data, space, ctx

    def __call__(self, trial: optuna.Trial) -> float:
        options = {name: _suggest(trial, name, o) for name, o in self.space.options.items()}
        config = FitConfig.model_validate({**self.data.config.model_dump(), **options})
        # Named by its options, so that an interrupted trial finds its checkpoints.
        folder = RunFolder(config.out.parent / _digest(options))
        seconds = 0.0

        def report(epoch: Epoch) -> None:
            nonlocal seconds
            seconds += epoch.seconds
            trial.set_user_attr(SECONDS, seconds)
            trial.report(epoch.validation_accuracy, epoch.number)
            if not self.space.is_grid and trial.should_prune():
                shutil.rmtree(folder.root, ignore_errors=True)
                raise optuna.TrialPruned

        try:
            learned = train_backbone(
                replace(self.data, config=config, folder=folder),
                self.ctx,
                on_epoch=report,
            )
        except TRIAL_ERRORS as error:
            why = str(error).partition("\n")[0]
            if isinstance(error, TrainingDiverged):
                why = error.problem
            trial.set_user_attr(REASON, why[:200] or type(error).__name__)
            shutil.rmtree(folder.root, ignore_errors=True)
            if self.ctx.device.is_cuda:
                torch.cuda.empty_cache()
            raise
        shutil.rmtree(folder.root, ignore_errors=True)
        if isinstance(self.data, ClassifyDataset):
            trial.set_user_attr(FIGURES, trial_figures(self.data, learned, self.ctx).as_json())
        best = learned.history.best_epoch
        return best.validation_accuracy


@contextmanager
def _open_study(out: Path, seed: int) -> Iterator[optuna.Study]:
    """Open or create the study of a folder, and close its database at the end."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'study.db'}")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name="augrank",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS),
        )
        # A sampler with the same seed would suggest its first options again.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _interrupted(study: optuna.Study, space: Space) -> list[dict[str, Value]]:
    """Return the complete options of trials that were killed or interrupted by Ctrl-C."""
    return [
        dict(trial.params)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.FAIL))
        if REASON not in trial.user_attrs and set(trial.params) == set(space.options)
    ]


def _enqueue(study: optuna.Study, options: Sequence[Mapping[str, Value]]) -> None:
    """Enqueue the options that no trial has finished and that are not queued yet."""
    queued = _finished_digests(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        queued.add(_digest(trial.system_attrs.get("fixed_params", {})))
    for proposed in options:
        if proposed and _digest(proposed) not in queued:
            study.enqueue_trial(dict(proposed))
            queued.add(_digest(proposed))
    # Last, so that they are found again if this process is killed earlier.
    for unfinished in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(unfinished.number, state=TrialState.FAIL)


def _finished_digests(study: optuna.Study) -> set[str]:
    """Return the digests of the options of finished trials."""
    return {_digest(trial.params) for trial in _finished(study)}


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials, without those that were killed."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(STATES))
        if trial.state != TrialState.FAIL or REASON in trial.user_attrs
    ]


def _results(study: optuna.Study) -> list[Trial]:
    results = []
    for trial in _finished(study):
        last = trial.last_step
        value = trial.intermediate_values.get(last) if last else None
        figures = trial.user_attrs.get(FIGURES)
        results.append(
            Trial(
                trial.number,
                STATES[trial.state],
                trial.value if trial.state == TrialState.COMPLETE else value,
                last,
                trial.user_attrs.get(SECONDS),
                trial.params,
                trial.user_attrs.get(REASON, ""),
                TrialFigures.of_json(figures) if figures else None,
            )
        )
    return results


def _suggest(trial: optuna.Trial, name: str, option: Range | tuple[Value, ...]) -> Value:
    if not isinstance(option, Range):
        return cast(Value, trial.suggest_categorical(name, option))
    if option.integer:
        return trial.suggest_int(name, int(option.low), int(option.high), log=option.log)
    return trial.suggest_float(name, option.low, option.high, log=option.log)


def _defaults(config: FitConfig, space: Space) -> dict[str, Value]:
    """Return ``fit``'s defaults of the searched options, if the space contains them."""
    inside = {}
    for name, option in space.options.items():
        value = config.peak_learning_rate if name == "learning_rate" else getattr(config, name)
        if option.low <= value <= option.high if isinstance(option, Range) else value in option:
            inside[name] = value
    return inside


def _check_study(out: Path, config: FitConfig, space: Space, data: Dataset) -> None:
    """Save the definition of the search, or check that the folder's study has the same.

    Raises:
        DataError: the folder contains another study.
    """
    options = {k: v for k, v in config.decisive().items() if k not in space.options}
    wanted = {"options": options, "space": space.as_dict(), "data": data.data}
    file = out / "study.json"
    if not file.is_file():
        write_json(file, wanted)
        return
    saved = read_json(file, "Choose another --out.")
    saved["options"] = with_defaults(saved.get("options", {}), options)
    differs = [name for name in wanted if saved.get(name) != json.loads(json.dumps(wanted[name]))]
    if differs:
        raise DataError(
            f"{out} contains another study",
            expected=f"the same {' and '.join(differs)} as before",
            remedy="Choose another --out.",
        )


def _digest(options: Mapping[str, Value]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def _line(trial: Trial, best: Trial | None) -> str:
    chosen = ", ".join(f"{name} {format_value(value)}" for name, value in trial.parameters.items())
    value = trial.value if trial.value is not None else math.nan
    line = f"  {trial.state}: {value:.2%} with {chosen}"
    if trial.reason:
        line += f" ({trial.reason})"
    return line + (f"; best {best.value:.2%}, trial {best.number}" if best else "")
