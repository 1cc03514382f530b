"""Batch transform: answer an S3 folder of images, resumable; bad images are listed and skipped.

Every image is one request and one ``<key>.out`` in the output folder. Images that have an answer
are not sent again: the job's manifest names the missing ones. A job left running by a killed call
is followed first. An image that cannot be answered gets its error as its answer, because SageMaker
fails a whole job at the first status other than 200; one that is empty or too large for a request
is not sent at all. A job that completed is not believed: its answers are counted (answers.py).
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from augrank.aws.client import INVALID, TAG, Aws, AwsError, Call
from augrank.aws.poll import Pending, poll
from augrank.aws.s3 import S3Folder
from augrank.reporting import ShowStatus, no_progress
from augrank.runtime.settings import ERRORS_AS_200, FIELDS
from export.sagemaker.answers import AnswerFolder, TransformResult
from export.sagemaker.release import MAX_REQUEST_BYTES, Release, digest

POLL_S, WAIT_S = 20.0, 24 * 3600.0
CONTENT_TYPE = "application/x-image"  # SageMaker's own, of any format
MAX_PAYLOAD_MB = MAX_REQUEST_BYTES // 2**20
RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True)
class Batch:
    """A folder of images, and the fields of their requests."""

    release: Release  # the export, with the instances to run on
    source: S3Folder  # images
    output: S3Folder  # answers
    fields: Mapping[str, Any]  # target and context of all images; options of a classifier

    @property
    def folders(self) -> AnswerFolder:
        """The images, and their answers."""
        return AnswerFolder(self.source, self.output)

    @property
    def identity(self) -> dict[str, Any]:
        """The inputs of an answer: an output folder never mixes answers that differ in them."""
        return {
            "archive": self.release.key,
            "input": self.source.url,
            "fields": dict(sorted(self.fields.items())),
        }

    @cached_property
    def prefix(self) -> str:
        """The beginning of the names of its jobs."""
        identity = digest({**self.identity, "output": self.output.url})
        return f"{self.release.settings.name}-{identity[:10]}-"

    def calls(self, manifest: str) -> list[Call]:
        """Return the requests that create a model for batch transform and start a job.

        Args:
            manifest: S3 URL of the file that names the images.
        """
        settings = self.release.settings
        fields = json.dumps(dict(self.fields))
        environment = {**settings.environment, FIELDS: fields, ERRORS_AS_200: "1"}
        model = Release(replace(settings, environment=environment), self.release.dist).model
        job = {
            "TransformJobName": f"{self.prefix}{int(time.time())}",
            "ModelName": model.parameters["ModelName"],
            "MaxPayloadInMB": MAX_PAYLOAD_MB,
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": manifest}},
                "ContentType": CONTENT_TYPE,
            },
            "TransformOutput": {"S3OutputPath": self.output.url, "Accept": "application/json"},
            "TransformResources": {
                "InstanceType": settings.instance_type,
                "InstanceCount": settings.instances or 1,
            },
            "Tags": model.parameters["Tags"],
        }
        return [model, Call("sagemaker", "create_transform_job", job)]


def transform(
    aws: Aws, batch: Batch, *, progress: ShowStatus = no_progress, poll_s: float | None = None
) -> TransformResult:
    """Answer every image of a folder that has no answer yet.

    Args:
        aws: services of a region.
        batch: the images, and the fields of their requests.
        progress: receives progress messages.
        poll_s: pause between two requests for the job's state; None for 20 s.

    Raises:
        AwsError: AWS refused, or the job failed; existing answers are kept.
        BadRequest: there are no images, or the output folder has answers to another request.

    Returns:
        What the output folder holds now; the job may have left images without an answer.
    """
    folders = batch.folders
    images = folders.images(aws)
    folders.claim(aws, batch.identity)
    jobs = _Jobs(aws, progress, POLL_S if poll_s is None else poll_s)
    for job, status in list(_running(aws, batch.release.settings.name, batch.prefix)):
        progress(f"following {job}, which was started earlier")
        jobs.wait(job, may_stop=status == "Stopping")
    sendable = folders.refuse_unfit(aws, images, MAX_REQUEST_BYTES)
    if missing := folders.unanswered(aws, sendable):
        jobs.wait(jobs.start(batch, missing))
    return folders.collect(aws, images)


def stop_jobs(aws: Aws, name: str) -> list[str]:
    """Stop every running transform job of an endpoint's name; return their names for display."""
    stopped = []
    for job, status in list(_running(aws, name)):
        if status == "Stopping":
            continue
        try:
            aws.send(Call("sagemaker", "stop_transform_job", {"TransformJobName": job}))
        except AwsError as error:
            if error.aws_code != INVALID:  # it has just ended
                raise
        stopped.append(f"transform job {job} (stopped)")
    return stopped


@dataclass(frozen=True)
class _Jobs:
    """Starts transform jobs and waits for them."""

    aws: Aws
    progress: ShowStatus
    poll_s: float

    def start(self, batch: Batch, images: Sequence[str]) -> str:
        """Start a job for these images, and return its name."""
        self.progress(f"{len(images)} images to answer")
        batch.release.upload(self.aws, self.progress)
        manifest = json.dumps([{"prefix": batch.source.url}, *images]).encode()
        folder = batch.release.settings.folder
        url = folder.write(self.aws, f"transform/{time.time_ns()}.manifest", manifest)
        model, job = batch.calls(url)
        self.aws.create(model)
        self.aws.send(job)
        return str(job.parameters["TransformJobName"])

    def wait(self, name: str, *, may_stop: bool = False) -> None:
        """Wait until a job is done; a stopped one is an error unless ``may_stop``."""

        def ended() -> str | Pending:
            call = Call("sagemaker", "describe_transform_job", {"TransformJobName": name})
            state = self.aws.send(call)
            status = str(state["TransformJobStatus"])
            if status == "Completed" or (status == "Stopped" and may_stop):
                return status
            if status in ("Failed", "Stopped"):
                reason = state.get("FailureReason") or "no reason given"
                raise AwsError(
                    f"the transform job {name} {status.lower()}: {reason}",
                    remedy="Run it again: it resumes with the images that have no answer.",
                )
            return Pending(f"{name}: {status}")

        poll(ended, interval_s=self.poll_s, timeout_s=WAIT_S, progress=self.progress)


def _running(aws: Aws, name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and states of an endpoint name's jobs that are running or stopping."""
    for status in RUNNING:
        pages = aws.paginate(
            "sagemaker", "list_transform_jobs", NameContains=prefix or name, StatusEquals=status
        )
        for job in (job for page in pages for job in page["TransformJobSummaries"]):
            if aws.tags(job["TransformJobArn"]).get(TAG) == name:
                yield job["TransformJobName"], status
