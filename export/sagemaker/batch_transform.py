"""Batch transform: a whole S3 folder of images, resumable, bad images listed and skipped.

Every image is one request and one ``<key>.out`` in the output folder. What is there already is
not asked again: the job gets a list of those that are missing. A job that is still at work, left
by a call that was killed, is followed first. An image that cannot be answered has its error as
its answer, because SageMaker gives up a whole job at the first status other than 200; one that is
too large for a request is not sent at all.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from augrank.aws.client import INVALID, TAG, Aws, AwsError, Call
from augrank.aws.s3 import S3Folder
from augrank.contracts.manifest import IMAGE_SUFFIXES
from augrank.errors import BadRequest
from augrank.runtime.settings import ERRORS_AS_200, FIELDS
from export.sagemaker.release import MAX_REQUEST_BYTES, Release, Step, digest

ANSWER_SUFFIX = ".out"  # SageMaker's
QUESTION = "augrank.json"  # in the output folder: what its answers are answers to
POLL_S, WAIT_S = 20.0, 24 * 3600.0
MAX_PAYLOAD_MB = MAX_REQUEST_BYTES // 2**20
AT_WORK = ("InProgress", "Stopping")


@dataclass(frozen=True)
class TransformOutcome:
    """What is in the output folder now."""

    answered: int
    failed: dict[str, str]  # image to error
    missing: list[str]  # images without an answer yet


@dataclass(frozen=True)
class Batch:
    """What a folder of images is asked."""

    release: Release  # the export, with the instances to run on
    source: S3Folder  # images
    output: S3Folder  # answers
    fields: Mapping[str, Any]  # target and context of all images

    @property
    def question(self) -> dict[str, Any]:
        """What makes answers comparable: they never share a folder with answers to another."""
        return {
            "archive": self.release.key,
            "input": self.source.url,
            "fields": dict(sorted(self.fields.items())),
        }

    @cached_property
    def prefix(self) -> str:
        """What the names of its jobs begin with."""
        asked = digest({**self.question, "output": self.output.url})
        return f"{self.release.settings.name}-{asked[:10]}-"

    def calls(self, listed: str) -> list[Call]:
        """The requests that make a model for batch transform and start a job.

        Args:
            listed: S3 URL of the manifest that names the images.
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
                "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": listed}},
                "ContentType": "application/octet-stream",
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
    aws: Aws, batch: Batch, *, step: Step = lambda _: None, poll_s: float | None = None
) -> TransformOutcome:
    """Answer every image of a folder that has no answer yet.

    Args:
        aws: services of a region.
        batch: the images, and what they are asked.
        step: told what is being done.
        poll_s: between questions after the job's state; None for 20 s.

    Raises:
        AwsError: AWS refuses, or the job failed; answers that were given stay.
        BadRequest: there are no images, or the output folder has answers to another question.
    """
    sizes = {k: n for k, n in batch.source.sizes(aws).items() if k.lower().endswith(IMAGE_SUFFIXES)}
    if not sizes:
        raise BadRequest(
            "there are no images", expected=", ".join(IMAGE_SUFFIXES), got=batch.source.url
        )
    _claim(aws, batch)
    poll_s = POLL_S if poll_s is None else poll_s
    for job, status in list(_at_work(aws, batch.release.settings.name, batch.prefix)):
        step(f"following {job}, which was started before")
        _wait(aws, job, step, poll_s, may_stop=status == "Stopping")
    fit = [image for image, size in sizes.items() if size <= MAX_REQUEST_BYTES]
    if missing := _missing(aws, fit, batch.output):
        _wait(aws, _start(aws, batch, missing, step), step, poll_s)
    too_large = {
        image: f"the image is too large: expected at most {MAX_PAYLOAD_MB} MB, "
        f"got {size / 2**20:.1f}"
        for image, size in sizes.items()
        if size > MAX_REQUEST_BYTES
    }
    return _collect(aws, fit, batch.output, too_large)


def stop_jobs(aws: Aws, name: str) -> list[str]:
    """Stop every transform job of an endpoint's name that is at work; which, in words."""
    stopped = []
    for job, status in list(_at_work(aws, name)):
        if status == "Stopping":
            continue
        try:
            aws.send(Call("sagemaker", "stop_transform_job", {"TransformJobName": job}))
        except AwsError as error:
            if error.aws_code != INVALID:  # it ended in this moment
                raise
        stopped.append(f"transform job {job} (stopped)")
    return stopped


def _at_work(aws: Aws, name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Transform jobs of an endpoint's name that are at work or stopping: names and which."""
    for status in AT_WORK:
        pages = aws.paginate(
            "sagemaker", "list_transform_jobs", NameContains=prefix or name, StatusEquals=status
        )
        for job in (job for page in pages for job in page["TransformJobSummaries"]):
            if aws.tags(job["TransformJobArn"]).get(TAG) == name:
                yield job["TransformJobName"], status


def _claim(aws: Aws, batch: Batch) -> None:
    """Write to the output folder what its answers are answers to, or compare."""
    found = batch.output.read(aws, QUESTION)
    if found is None:
        batch.output.write(aws, QUESTION, json.dumps(batch.question, indent=2).encode())
    elif (other := json.loads(found)) != batch.question:
        differs = [key for key in batch.question if other.get(key) != batch.question[key]]
        raise BadRequest(
            f"{batch.output.url} has answers to another question",
            expected=f"{differs[0]} as in its {QUESTION}: {json.dumps(other.get(differs[0]))}",
            got=json.dumps(batch.question[differs[0]]),
            remedy="Choose another --output.",
        )


def _missing(aws: Aws, images: Sequence[str], output: S3Folder) -> list[str]:
    there = set(output.keys(aws))
    return [image for image in images if f"{image}{ANSWER_SUFFIX}" not in there]


def _start(aws: Aws, batch: Batch, missing: Sequence[str], step: Step) -> str:
    step(f"{len(missing)} images to answer")
    batch.release.upload(aws, step)
    listing = json.dumps([{"prefix": batch.source.url}, *missing]).encode()
    folder = batch.release.settings.folder
    model, job = batch.calls(folder.write(aws, f"transform/{time.time_ns()}.manifest", listing))
    aws.create(model)
    aws.send(job)
    return str(job.parameters["TransformJobName"])


def _wait(aws: Aws, name: str, step: Step, poll_s: float, *, may_stop: bool = False) -> None:
    """Wait until a job is done, or has stopped where somebody had stopped it before."""
    started = time.monotonic()
    while time.monotonic() - started < WAIT_S:
        state = aws.send(Call("sagemaker", "describe_transform_job", {"TransformJobName": name}))
        status = state["TransformJobStatus"]
        if status == "Completed" or (status == "Stopped" and may_stop):
            return
        if status in ("Failed", "Stopped"):
            reason = state.get("FailureReason") or "no reason given"
            raise AwsError(
                f"the transform job {name} {status.lower()}: {reason}",
                remedy="Run it again: it goes on with the images that have no answer.",
            )
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        step(f"{name}: {status}, {minutes}:{seconds:02d}")
        time.sleep(poll_s)
    raise AwsError(f"the transform job {name} is not done after {WAIT_S / 3600:.0f} h")


def _collect(
    aws: Aws, images: Sequence[str], output: S3Folder, failed: dict[str, str]
) -> TransformOutcome:
    there = set(output.keys(aws))
    missing, answered = [], 0
    for image in images:
        key = f"{image}{ANSWER_SUFFIX}"
        answer = output.read(aws, key) if key in there else None
        if answer is None:
            missing.append(image)
        elif "error" in (content := json.loads(answer)):
            failed[image] = content["error"]["message"]
        else:
            answered += 1
    return TransformOutcome(answered, failed, missing)
