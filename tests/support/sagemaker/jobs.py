"""Training and tuning jobs: moto's server, completed from AWS's documentation.

- moto forgets a job's environment and replaces its metric definitions: both are kept here;
- moto completes jobs as soon as they are created; here a test chooses their final status and the
  metrics that SageMaker would have read from their logs;
- ``StopTrainingJob`` takes effect at once (AWS takes minutes);
- ``ListTrainingJobsForHyperParameterTuningJob`` returns the trials that a test lists.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse

from tests.support.sagemaker.region import ACCOUNT, REGION

Fate = Callable[[str], tuple[str, dict[str, float]]]  # instance type to status and metrics


@dataclass
class LocalJobs:
    """The outcome that jobs will have, and the jobs that were stopped."""

    fate: Fate = lambda _kind: ("Completed", {})
    trials: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def add_jobs(monkeypatch: pytest.MonkeyPatch) -> LocalJobs:
    """Patch moto's server, in this process, with what it lacks."""
    local = LocalJobs()
    create = SageMakerResponse.create_training_job

    def create_training_job(response: SageMakerResponse) -> ActionResult:
        definitions = list(
            response._get_param("AlgorithmSpecification").get("MetricDefinitions", [])
        )
        answer = create(response)
        job = _job(response)
        job.environment = response._get_param("Environment")
        job.algorithm_specification["MetricDefinitions"] = definitions
        status, metrics = local.fate(job.resource_config["InstanceType"])
        job.training_job_status = job.secondary_status = status
        job.billable_time_in_seconds = 360
        job.failure_reason = "AlgorithmError: by a test" if status == "Failed" else None
        job.final_metric_data_list = [
            {"MetricName": name, "Value": value, "Timestamp": job.creation_time}
            for name, value in metrics.items()
        ]
        return answer

    def stop_training_job(response: SageMakerResponse) -> EmptyResult:
        job = _job(response)
        job.training_job_status = job.secondary_status = "Stopped"
        local.stopped.append(job.training_job_name)
        return EmptyResult()

    def list_trials(_response: SageMakerResponse) -> ActionResult:
        return ActionResult({"TrainingJobSummaries": local.trials})

    for name, method in {
        "create_training_job": create_training_job,
        "stop_training_job": stop_training_job,
        "list_training_jobs_for_hyper_parameter_tuning_job": list_trials,
    }.items():
        monkeypatch.setattr(SageMakerResponse, name, method, raising=False)
    return local


def _job(response: SageMakerResponse) -> Any:
    backend = sagemaker_backends[ACCOUNT][REGION]
    return backend.training_jobs[response._get_param("TrainingJobName")]
