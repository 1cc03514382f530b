"""Instance types on AWS: a training job, or an endpoint under load that is deleted afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError, Call
from augrank.aws.s3 import S3Folder
from augrank.bundle.load import load_bundle
from augrank.errors import BadRequest
from augrank.reporting import ShowStatus
from benchmarks.common.http_client import FAILED, OK, LoadClient, Payload
from benchmarks.common.requests import requests_for
from benchmarks.instances.catalogue import InstanceType
from benchmarks.instances.figures import (
    LeftRunning,
    LoadPlan,
    ServingFigures,
    TrainingFigures,
    measure_load,
    training_figures,
)
from benchmarks.serving.systems import json_body
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.images import serving_image
from export.sagemaker.release import Release, Settings
from export.sagemaker.rollout import deploy
from export.sagemaker.teardown import delete
from training.sagemaker import job as jobs
from training.sagemaker.job import JobSettings, TrainingJob

BILLED = ("BillableTimeInSeconds", "TrainingTimeInSeconds")


@dataclass(frozen=True)
class Account:
    """The role, bucket and images of the account."""

    role: str
    bucket: str
    serving_image: str  # `aws` for AWS's own, by instance type
    training_image: str


@dataclass(frozen=True)
class Job:
    """The training job that runs on every type."""

    data: str  # s3://BUCKET/FOLDER
    options: dict[str, Any]  # of fit
    max_hours: float


@dataclass(frozen=True)
class AwsWorkload:
    """The workload that is measured on every type."""

    load: LoadPlan  # of endpoints
    job: Job | None  # None if nothing is trained
    dist: Path | None  # the export to serve; None if nothing is served
    images: list[Path]  # of the requests


class SageMakerPlatform:
    """Trains and serves on SageMaker; names of what it creates contain the benchmark's mark.

    Args:
        aws: services of a region.
        account: role, bucket, images.
        mark: id of this benchmark.
        workload: the training and serving to measure.
    """

    def __init__(self, aws: Aws, account: Account, mark: str, workload: AwsWorkload) -> None:
        self._aws, self._account, self._mark = aws, account, f"bench-{mark}"
        self._load, self._images = workload.load, workload.images
        self._job, self._dist = workload.job, workload.dist
        self._content = ""

    # --- training ---------------------------------------------------------------------------------

    def train(self, kind: InstanceType, step: ShowStatus) -> TrainingFigures:
        """Run a training job; stop it if the user interrupts."""
        job = self.training_job(kind)
        name = jobs.submit(self._aws, job, step)
        try:
            state = jobs.wait(self._aws, name, step)
        except KeyboardInterrupt:
            self._stop(name)
            raise
        except AwsError as error:
            if self._status(name) not in jobs.ENDED:
                raise LeftRunning(
                    f"the job {name} may still run: {error}",
                    remedy="Run the same command to follow it, or stop it in the console.",
                ) from error
            self._files(job).delete_all(self._aws)
            raise
        self._files(job).delete_all(self._aws)
        return _figures(state)

    def training_job(self, kind: InstanceType) -> TrainingJob:
        """Return the job of a type, on demand: spot instances might be interrupted."""
        if self._job is None:
            raise BadRequest("there is nothing to train", remedy="Give --data s3://BUCKET/FOLDER")
        account, image = self._account, self._account.training_image
        settings = JobSettings(
            name=self._mark,
            role=account.role,
            data=jobs.as_folder(self._job.data),
            bucket=account.bucket,
            instance_type=kind.name,
            image=jobs.training_image(self._aws.region, kind.name) if image == "aws" else image,
            spot=False,
            max_hours=self._job.max_hours,
        )
        if not self._content:  # the same for all types
            self._content = jobs.content_digest(self._aws, settings)
        return TrainingJob(settings, self._job.options, self._content)

    def _files(self, job: TrainingJob) -> S3Folder:
        return S3Folder(self._account.bucket, f"{jobs.FOLDER}/{job.name}/")

    def _stop(self, name: str) -> None:
        """Stop a job.

        Raises:
            LeftRunning: it still runs.
        """
        call = Call("sagemaker", "stop_training_job", {"TrainingJobName": name})
        try:
            self._aws.send(call)
        except AwsError as error:
            if self._status(name) not in (*jobs.ENDED, "Stopping"):
                raise LeftRunning(f"the job {name} may still run: {error}") from error

    def _status(self, name: str) -> str:
        try:
            call = Call("sagemaker", "describe_training_job", {"TrainingJobName": name})
            return str(self._aws.send(call)["TrainingJobStatus"])
        except AwsError:
            return "unknown"

    # --- serving ----------------------------------------------------------------------------------

    def serve(self, kind: InstanceType, step: ShowStatus) -> ServingFigures:
        """Measure an endpoint, which is always deleted afterwards."""
        release = self.release(kind)
        endpoint = Endpoint(self._aws, release.settings.name, step)
        bundle = load_bundle(release.dist / "bundle")
        if kind.gpus and "fp16" not in bundle.spec.graphs:
            raise BadRequest(
                "the export has no graph for GPUs", remedy="Export it again with --fp16."
            )
        try:
            deploy(endpoint, release)
            bodies = [json_body(each) for each in requests_for(bundle, self._images)]
            return measure_load(Invoked(self._aws, endpoint.name), bodies, self._load, step)
        finally:
            delete(endpoint, self._account.bucket)

    def release(self, kind: InstanceType) -> Release:
        """Return the release that is served on a type."""
        if self._dist is None:
            raise BadRequest("there is nothing to serve", remedy="Give --dist DIST")
        account = self._account
        image = account.serving_image
        settings = Settings(
            name=f"{self._mark}-{kind.name.replace('.', '-')}",
            image=serving_image(self._aws.region, kind.name) if image == "aws" else image,
            role=account.role,
            bucket=account.bucket,
            instance_type=kind.name,
        )
        return Release(settings, self._dist)

    # --- leftovers of an earlier call -------------------------------------------------------------

    def clean(
        self, works: Sequence[str], kinds: Sequence[InstanceType], step: ShowStatus
    ) -> list[str]:
        """Delete leftover endpoints with their resources, and stop jobs that no call will follow.

        A job that would be submitted again unchanged is left: it is found by its name and followed.
        """
        made = {item["EndpointName"] for item in self._listed("list_endpoints", "Endpoints")}
        # A model is named by its endpoint and a digest; a kill may have left a model alone.
        models = self._listed("list_models", "Models")
        made |= {item["ModelName"].rsplit("-", 1)[0] for item in models}
        removed = []
        for name in sorted(made):
            removed += delete(Endpoint(self._aws, name, step), self._account.bucket)
        trained = [kind for kind in kinds if "training" in works and kind.trains]
        followed = tuple(self.training_job(kind).name for kind in trained)
        running = self._listed(
            "list_training_jobs", "TrainingJobSummaries", StatusEquals="InProgress"
        )
        for name in (item["TrainingJobName"] for item in running):
            if not name.startswith(followed):
                self._stop(name)
                removed.append(f"training job {name}")
        return removed

    def _listed(self, operation: str, key: str, **which: Any) -> list[dict[str, Any]]:
        """List resources that have this benchmark's mark in their names."""
        pages = self._aws.paginate("sagemaker", operation, NameContains=self._mark, **which)
        return [item for page in pages for item in page[key]]


@dataclass(frozen=True)
class Invoked:
    """An endpoint as the target of a load."""

    aws: Aws
    name: str

    def client(self) -> LoadClient:
        """Return a client; boto3 keeps connections alive, so one serves all threads."""
        return _Client(self.aws, self.name)


class _Client:
    def __init__(self, aws: Aws, name: str) -> None:
        self._runtime, self._name = aws.client("sagemaker-runtime"), name

    def post(self, body: Payload) -> tuple[int, bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._name, Body=body.data, ContentType=body.headers["Content-Type"]
            )
            return OK, answer["Body"].read()
        except ClientError as error:
            status = error.response.get("OriginalStatusCode", FAILED)
            return int(status), b""
        except BotoCoreError:
            return FAILED, b""

    def close(self) -> None:
        pass


def _figures(state: dict[str, Any]) -> TrainingFigures:
    """Read the metrics of the last epoch that SageMaker found in the job's log."""
    found = {m["MetricName"]: float(m["Value"]) for m in state.get("FinalMetricDataList", [])}
    missing = {"images_per_s", "epoch_seconds", "input_share"} - set(found)
    if missing:
        raise AwsError(
            f"the job {state['TrainingJobName']} printed no {', '.join(sorted(missing))}",
            remedy="Its log is in CloudWatch (/aws/sagemaker/TrainingJobs).",
        )
    billed_s = next((float(state[key]) for key in BILLED if state.get(key)), 0.0)
    return training_figures(
        [found["images_per_s"]], [found["epoch_seconds"]], [found["input_share"]], billed_s / 3600
    )
