"""A search as a tuning job on SageMaker: Bayesian where there are ranges, else the whole grid."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from augrank.aws.client import Aws, AwsError, aws_errors
from training.sagemaker.job import ENDED, POLL_S, Step, TrainingJob, inputs, trainer
from training.sagemaker.metrics import OBJECTIVE, definitions
from training.tuning.space import Range, Space, Value
from training.tuning.trials import State, Trial

MOST_NAME = 32  # letters of a tuning job's name: SageMaker's limit
STATES: dict[str, State] = {"Completed": "complete", "Stopped": "pruned", "Failed": "failed"}


def tuning_name(job: TrainingJob, space: Space, jobs: int) -> str:
    """Says what is searched, so that the same command finds it again."""
    what = json.dumps([job.name, space.plain(), jobs])
    return f"{job.settings.name[: MOST_NAME - 9]}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def start(
    aws: Aws, job: TrainingJob, space: Space, *, jobs: int, parallel: int, seed: int, step: Step
) -> str:
    """Start a tuning job, or find the one that was started.

    Args:
        aws: services of a region.
        job: what each try is, but for the options that are searched.
        space: options that are.
        jobs: tries at most; a grid has its own number.
        parallel: tries at a time.
        seed: of the search.
        step: told what is being done.

    Returns:
        Its name.

    Raises:
        AwsError: what AWS says.
    """
    name = tuning_name(job, space, jobs)
    if (known := _state(aws, name)) is not None:
        status = known["HyperParameterTuningJobStatus"]
        if status == "Failed":
            raise AwsError(
                f"the tuning job {name} failed: {known.get('FailureReason', 'no reason given')}",
                remedy="Its name is taken: begin another one, with another --name or --trials.",
            )
        step(f"{name} is there already: {status}")
        return name
    step(f"uploading the source and starting {name}")
    with trainer(aws, job) as prepared, aws_errors():
        from sagemaker.train.tuner import HyperparameterTuner

        count = tries(space, jobs)
        HyperparameterTuner(
            prepared,
            OBJECTIVE,
            _ranges(space),
            metric_definitions=definitions(job.targets),
            strategy="Grid" if space.is_grid else "Bayesian",
            objective_type="Maximize",
            max_jobs=count,
            max_parallel_jobs=min(parallel, count),
            early_stopping_type="Off" if space.is_grid else "Auto",
            random_seed=seed,
            tags=[{"Key": "augrank:job", "Value": job.settings.name}],
        ).tune(inputs=inputs(job.settings), job_name=name, wait=False)
    return name


def tries(space: Space, jobs: int) -> int:
    """How many jobs there are at most; a grid has its own number."""
    return len(list(space.combinations())) if space.is_grid else jobs


def wait(aws: Aws, name: str, step: Step, *, poll_s: float | None = None) -> None:
    """Until the tuning job has ended.

    Raises:
        AwsError: it failed.
    """
    started = time.monotonic()
    while True:
        state = _state(aws, name)
        if state is None:
            raise AwsError(f"the tuning job {name} is gone")
        status = state["HyperParameterTuningJobStatus"]
        if status in ENDED:
            if status == "Failed":
                reason = state.get("FailureReason", "no reason given")
                raise AwsError(f"the tuning job {name} failed: {reason}")
            return
        counts = state.get("TrainingJobStatusCounters", {})
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        step(
            f"{name}: {counts.get('Completed', 0)} done, {counts.get('InProgress', 0)} running, "
            f"{minutes}:{seconds:02d}"
        )
        time.sleep(POLL_S if poll_s is None else poll_s)


def results(aws: Aws, name: str, space: Space) -> list[Trial]:
    """The tuning job's tries, in the order in which they began."""
    operation = "list_training_jobs_for_hyper_parameter_tuning_job"
    pages = aws.paginate("sagemaker", operation, HyperParameterTuningJobName=name)
    jobs = [item for page in pages for item in page["TrainingJobSummaries"]]
    jobs.sort(key=lambda job: job["CreationTime"])
    return [_trial(number, job, space) for number, job in enumerate(jobs)]


def _trial(number: int, job: Mapping[str, Any], space: Space) -> Trial:
    metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
    begun, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    tuned = job.get("TunedHyperParameters", {})
    return Trial(
        number,
        STATES.get(job["TrainingJobStatus"], "running"),
        float(metric["Value"]) if metric else None,
        None,
        (ended - begun).total_seconds() if begun and ended else None,
        {name: _value(tuned[name]) for name in space.options if name in tuned},
        job.get("FailureReason", ""),
    )


def _value(text: str) -> Value:
    """A tried value, as a config has it: SageMaker keeps all as texts."""
    try:
        value: Value = json.loads(text)
    except ValueError:
        return text.strip('"')
    return value


def _ranges(space: Space) -> dict[str, Any]:
    from sagemaker.core.parameter import (
        CategoricalParameter,
        ContinuousParameter,
        IntegerParameter,
    )

    ranges: dict[str, Any] = {}
    for name, option in space.options.items():
        if not isinstance(option, Range):
            ranges[name] = CategoricalParameter(list(option))
            continue
        kind = IntegerParameter if option.integer else ContinuousParameter
        scaling = "Logarithmic" if option.log else "Linear"
        ranges[name] = kind(*option.ends, scaling_type=scaling)
    return ranges


def _state(aws: Aws, name: str) -> dict[str, Any] | None:
    return aws.describe("describe_hyper_parameter_tuning_job", HyperParameterTuningJobName=name)


def requests(job: TrainingJob, space: Space, *, jobs: int, parallel: int) -> dict[str, Any]:
    """What ``--dry-run`` shows of the search itself."""
    return {
        "HyperParameterTuningJobName": tuning_name(job, space, jobs),
        "Strategy": "Grid" if space.is_grid else "Bayesian",
        "Objective": {"Type": "Maximize", "MetricName": OBJECTIVE},
        "ParameterRanges": space.plain(),
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": tries(space, jobs),
            "MaxParallelTrainingJobs": min(parallel, tries(space, jobs)),
        },
    }
