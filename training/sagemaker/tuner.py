"""A hyperparameter search as a SageMaker tuning job: Bayesian over ranges, or a full grid."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import Aws, AwsError, aws_errors
from augrank.aws.poll import Pending, poll
from augrank.reporting import ShowStatus
from training.sagemaker.job import ENDED, POLL_S, TAG, TrainingJob, input_channels, model_trainer
from training.sagemaker.metrics import OBJECTIVE
from training.tuning.space import Range, Space, Value
from training.tuning.trials import State, Trial

MAX_NAME = 32  # characters of a tuning job's name: SageMaker's limit
STATES: dict[str, State] = {"Completed": "complete", "Stopped": "pruned", "Failed": "failed"}


@dataclass(frozen=True)
class Search:
    """A search: the space and the limits on jobs."""

    space: Space
    max_jobs: int  # ignored for a grid, which has its own number
    parallel: int  # jobs at a time
    seed: int = 0

    @property
    def jobs(self) -> int:
        """The maximum number of jobs."""
        return len(list(self.space.combinations())) if self.space.is_grid else self.max_jobs

    @property
    def strategy(self) -> str:
        """SageMaker's name of the search strategy."""
        return "Grid" if self.space.is_grid else "Bayesian"


def tuning_name(job: TrainingJob, search: Search) -> str:
    """Return a name derived from the search, so that the same command finds the job again."""
    text = json.dumps([job.name, search.space.as_dict(), search.max_jobs])
    return f"{job.settings.name[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def start(aws: Aws, job: TrainingJob, search: Search, progress: ShowStatus) -> str:
    """Start a tuning job, or find the one that was started before.

    Args:
        aws: services of a region.
        job: the job of each trial, without the searched options.
        search: the options that are searched, and limits.
        progress: receives progress messages.

    Returns:
        The tuning job's name.

    Raises:
        AwsError: AWS rejected the request, or the tuning job has failed before.
    """
    name = tuning_name(job, search)
    if (found := _describe(aws, name)) is not None:
        status = found["HyperParameterTuningJobStatus"]
        if status == "Failed":
            reason = found.get("FailureReason", "no reason given")
            raise AwsError(
                f"the tuning job {name} failed: {reason}",
                remedy="Its name is taken: start another one, with another --name or --trials.",
            )
        progress(f"{name} already exists: {status}")
        return name
    progress(f"uploading the source and starting {name}")
    with model_trainer(aws, job) as trainer, aws_errors():
        from sagemaker.train.tuner import HyperparameterTuner

        HyperparameterTuner(
            trainer,
            OBJECTIVE,
            _ranges(search.space),
            metric_definitions=job.metrics,
            strategy=search.strategy,
            objective_type="Maximize",
            max_jobs=search.jobs,
            max_parallel_jobs=min(search.parallel, search.jobs),
            early_stopping_type="Off" if search.space.is_grid else "Auto",
            random_seed=search.seed,
            tags=[{"Key": TAG, "Value": job.settings.name}],
        ).tune(inputs=input_channels(job.settings), job_name=name, wait=False)
    return name


def wait(aws: Aws, name: str, progress: ShowStatus, *, poll_s: float | None = None) -> None:
    """Wait for a tuning job to end.

    Raises:
        AwsError: it failed.
    """

    def ended() -> str | Pending:
        state = _describe(aws, name)
        if state is None:
            raise AwsError(f"the tuning job {name} no longer exists")
        status = str(state["HyperParameterTuningJobStatus"])
        if status == "Failed":
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(f"the tuning job {name} failed: {reason}")
        if status in ENDED:
            return status
        counts = state.get("TrainingJobStatusCounters", {})
        done, running = counts.get("Completed", 0), counts.get("InProgress", 0)
        return Pending(f"{name}: {done} done, {running} running")

    poll(ended, interval_s=POLL_S if poll_s is None else poll_s, progress=progress)


def results(aws: Aws, name: str, space: Space) -> list[Trial]:
    """Return the tuning job's trials, in the order in which they started."""
    operation = "list_training_jobs_for_hyper_parameter_tuning_job"
    pages = aws.paginate("sagemaker", operation, HyperParameterTuningJobName=name)
    jobs = [item for page in pages for item in page["TrainingJobSummaries"]]
    jobs.sort(key=lambda job: job["CreationTime"])
    return [_trial(number, job, space) for number, job in enumerate(jobs)]


def dry_run_request(job: TrainingJob, search: Search) -> dict[str, Any]:
    """Return the search's part of the output of ``--dry-run``."""
    return {
        "HyperParameterTuningJobName": tuning_name(job, search),
        "Strategy": search.strategy,
        "Objective": {"Type": "Maximize", "MetricName": OBJECTIVE},
        "ParameterRanges": search.space.as_dict(),
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": search.jobs,
            "MaxParallelTrainingJobs": min(search.parallel, search.jobs),
        },
    }


def _trial(number: int, job: Mapping[str, Any], space: Space) -> Trial:
    metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
    started, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    tuned = job.get("TunedHyperParameters", {})
    return Trial(
        number,
        STATES.get(job["TrainingJobStatus"], "running"),
        float(metric["Value"]) if metric else None,
        None,
        (ended - started).total_seconds() if started and ended else None,
        {name: _parse_value(tuned[name]) for name in space.options if name in tuned},
        job.get("FailureReason", ""),
    )


def _parse_value(text: str) -> Value:
    """Parse a tuned value, which SageMaker stores as a string, into the form of a config file."""
    try:
        value: Value = json.loads(text)
    except ValueError:
        return text.strip('"')
    return value


def _ranges(space: Space) -> dict[str, Any]:
    """The SDK's parameter ranges of a search space."""
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
        ranges[name] = kind(*option.bounds, scaling_type=scaling)
    return ranges


def _describe(aws: Aws, name: str) -> dict[str, Any] | None:
    return aws.describe("describe_hyper_parameter_tuning_job", HyperParameterTuningJobName=name)
