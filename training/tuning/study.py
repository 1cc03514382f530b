"""A search on this machine: Optuna proposes options, each trial trains a backbone with them.

    OUT/study.json   what is searched, and on which data
    OUT/study.db     Optuna's trials, SQLite: optuna-dashboard sqlite:///OUT/study.db
    OUT/trials/      checkpoints of trials that are not done
    OUT/cache/       decoded images, shared by all trials (or the cache that is set)

TPE (Bergstra et al., 2011) proposes; a trial that stands below the median of earlier ones after the
same epoch is given up. A grid tries every combination to its end instead. The same command again
goes on: an interrupted trial from its last whole epoch.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from augrank.errors import DataError
from augrank.files import LOCK, disk_errors, exclusive_lock, read_json, write_json
from training.backbone.checkpoint import Epoch
from training.backbone.train import learn, use_threads
from training.backbone.trainer import Diverged
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig
from training.data.dataset import Dataset, load_dataset, read_manifest
from training.run.folder import RunFolder
from training.tuning.space import Range, Space, Value
from training.tuning.trials import State, Trial, best_of, shown, write_results

# Before the first trials to be judged: trials that finish, and epochs that each is given.
UNJUDGED_TRIALS, UNJUDGED_EPOCHS = 4, 2
STATES: dict[TrialState, State] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned",
                                   TrialState.FAIL: "failed"}  # fmt: skip
REASON, SECONDS = "reason", "seconds"
# What ends a trial but not the search: options that do not learn, a batch that memory cannot hold.
OF_ITS_OPTIONS = (Diverged, RuntimeError, MemoryError)


def tune(
    config: FitConfig, space: Space, out: Path, *, trials: int, ctx: TrainContext
) -> list[Trial]:
    """Search, or go on searching.

    Args:
        config: options that are not searched; ``out`` is not used.
        space: options that are.
        out: folder of the study.
        trials: how many there shall be, those of earlier calls included; a grid has its own number.
        ctx: shows progress; its device is chosen by ``config``.

    Returns:
        All trials that are done.

    Raises:
        DataError: the data do not fit, the folder holds another study, or another process is at
            work on it.
    """
    space.check(config)
    remedy = "Free space there, and the same command goes on; or give another --out."
    busy = f"another process is working in {out}"
    with disk_errors(out, remedy), exclusive_lock(out / LOCK, busy):
        own = {"out": out / "trials" / "data", "cache": config.cache or out / "cache"}
        config = config.model_copy(update=own)
        data = load_dataset(config, read_manifest(config), ctx)
        _same_study(out, config, space, data)
        study = _open(out, config.seed)
        proposed = list(space.combinations()) if space.is_grid else [_defaults(config, space)]
        _propose(study, [*_interrupted(study, space), *proposed])
        trials = len(proposed) if space.is_grid else trials
        use_threads(data.threads)
        search = _Search(data, space, ctx.on(Device.choose(config.device, config.precision)))
        while (count := len(_different(study) if space.is_grid else _tried(study))) < trials:
            ctx.reporter.say(f"Trial {count + 1} of {trials}", style="heading")
            study.optimize(search, n_trials=1, catch=OF_ITS_OPTIONS)
            done = _results(study)
            write_results(out, config, space, done)
            ctx.reporter.say(_line(done[-1], best_of(done)))
        shutil.rmtree(out / "trials", ignore_errors=True)
    return _results(study)


class _Search:
    """One trial, as Optuna calls it."""

    def __init__(self, data: Dataset, space: Space, ctx: TrainContext) -> None:
        self._data, self._space, self._ctx = data, space, ctx

    def __call__(self, trial: optuna.Trial) -> float:
        options = {name: _draw(trial, name, o) for name, o in self._space.options.items()}
        config = FitConfig.model_validate({**self._data.config.model_dump(), **options})
        # Named by its options, so that a trial that was interrupted finds its checkpoints.
        folder = RunFolder(config.out.parent / _digest(options))
        seconds = 0.0

        def judge(epoch: Epoch) -> None:
            nonlocal seconds
            seconds += epoch.seconds
            trial.set_user_attr(SECONDS, seconds)
            trial.report(epoch.validation_accuracy, epoch.number)
            if not self._space.is_grid and trial.should_prune():
                shutil.rmtree(folder.root, ignore_errors=True)
                raise optuna.TrialPruned

        try:
            learned = learn(
                replace(self._data, config=config, folder=folder),
                self._ctx,
                on_epoch=judge,
            )
        except OF_ITS_OPTIONS as error:
            why = error.problem if isinstance(error, Diverged) else str(error).partition("\n")[0]
            trial.set_user_attr(REASON, why[:200] or type(error).__name__)
            shutil.rmtree(folder.root, ignore_errors=True)
            if self._ctx.device.is_cuda:
                torch.cuda.empty_cache()
            raise
        shutil.rmtree(folder.root, ignore_errors=True)
        best = learned.recognition.history[learned.recognition.best - 1]
        return best.validation_accuracy


def _open(out: Path, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{out / 'study.db'}",
        study_name="augrank",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(UNJUDGED_TRIALS, UNJUDGED_EPOCHS),
    )
    # A sampler of the same seed would propose its first options again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def _interrupted(study: optuna.Study, space: Space) -> list[dict[str, Value]]:
    """Options of trials that a kill left running, or Ctrl-C failed, as far as they were drawn."""
    return [
        dict(trial.params)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.FAIL))
        if REASON not in trial.user_attrs and set(trial.params) == set(space.options)
    ]


def _propose(study: optuna.Study, options: Sequence[Mapping[str, Value]]) -> None:
    """Put options first in the queue that no trial has tried to its end and none waits with."""
    known = _different(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        known.add(_digest(trial.system_attrs.get("fixed_params", {})))
    for proposed in options:
        if proposed and _digest(proposed) not in known:
            study.enqueue_trial(dict(proposed))
            known.add(_digest(proposed))
    # Last, so that a kill before here leaves them to be found again.
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)


def _different(study: optuna.Study) -> set[str]:
    """Digests of the options that were tried to an end."""
    return {_digest(trial.params) for trial in _tried(study)}


def _tried(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that came to an end of their own: not those that were killed."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(STATES))
        if trial.state != TrialState.FAIL or REASON in trial.user_attrs
    ]


def _results(study: optuna.Study) -> list[Trial]:
    results = []
    for trial in _tried(study):
        last = trial.last_step
        value = trial.intermediate_values.get(last) if last else None
        results.append(
            Trial(
                trial.number,
                STATES[trial.state],
                trial.value if trial.state == TrialState.COMPLETE else value,
                last,
                trial.user_attrs.get(SECONDS),
                trial.params,
                trial.user_attrs.get(REASON, ""),
            )
        )
    return results


def _draw(trial: optuna.Trial, name: str, option: Range | tuple[Value, ...]) -> Value:
    if not isinstance(option, Range):
        return cast(Value, trial.suggest_categorical(name, option))
    if option.integer:
        return trial.suggest_int(name, int(option.low), int(option.high), log=option.log)
    return trial.suggest_float(name, option.low, option.high, log=option.log)


def _defaults(config: FitConfig, space: Space) -> dict[str, Value]:
    """The options that would be taken without a search, as far as the space has them."""
    inside = {}
    for name, option in space.options.items():
        value = getattr(config, name)
        fits = option.low <= value <= option.high if isinstance(option, Range) else value in option
        if fits:
            inside[name] = value
    return inside


def _same_study(out: Path, config: FitConfig, space: Space, data: Dataset) -> None:
    """Note what is searched, or check that it is what this folder's study searches.

    Raises:
        DataError: it is not.
    """
    options = {k: v for k, v in config.decisive().items() if k not in space.options}
    wanted = {"options": options, "space": space.plain(), "data": data.data}
    file = out / "study.json"
    if not file.is_file():
        write_json(file, wanted)
        return
    known = read_json(file)
    differs = [name for name in wanted if known.get(name) != json.loads(json.dumps(wanted[name]))]
    if differs:
        raise DataError(
            f"{out} holds another study",
            expected=f"the same {' and '.join(differs)} as before",
            remedy="Choose another --out.",
        )


def _digest(options: Mapping[str, Value]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def _line(trial: Trial, best: Trial | None) -> str:
    chosen = ", ".join(f"{name} {shown(value)}" for name, value in trial.parameters.items())
    value = trial.value if trial.value is not None else math.nan
    line = f"  {trial.state}: {value:.2%} with {chosen}"
    if trial.reason:
        line += f" ({trial.reason})"
    return line + (f"; best {best.value:.2%}, trial {best.number}" if best else "")
