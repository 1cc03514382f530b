"""Batch transform: a whole S3 folder of pictures, resumable, bad pictures listed and skipped.

Every picture is one request and one ``<key>.out`` in the output folder. What is there already is
not asked again: the job gets a list of those that are missing. A picture that cannot be answered
has its error as its answer: SageMaker gives up a whole job at the first status other than 200.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from augrank.aws import Aws, AwsError, Call
from augrank.errors import BadRequest
from augrank.settings import ERRORS_AS_200, FIELDS
from export.aws.release import Release, Step
from export.aws.s3 import S3Folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
ANSWER_SUFFIX = ".out"  # SageMaker's
POLL_S, WAIT_S = 20.0, 24 * 3600.0
MAX_PAYLOAD_MB = 25


@dataclass(frozen=True)
class TransformOutcome:
    """What is in the output folder now."""

    answered: int
    failed: dict[str, str]  # picture to error
    missing: list[str]  # pictures without an answer yet


def transform(
    aws: Aws,
    release: Release,
    source: S3Folder,
    output: S3Folder,
    fields: Mapping[str, Any],
    *,
    step: Step = lambda _: None,
    poll_s: float = POLL_S,
) -> TransformOutcome:
    """Answer every picture of a folder that has no answer yet.

    Args:
        aws: services of a region.
        release: the export, with the instances to run on.
        source: pictures.
        output: answers.
        fields: target and context of all pictures.
        step: told what is being done.
        poll_s: between questions after the job's state.

    Raises:
        AwsError: AWS refuses, or the job failed; answers that were given stay.
    """
    pictures = [key for key in source.keys(aws) if key.lower().endswith(SUFFIXES)]
    if not pictures:
        raise BadRequest("there are no pictures", expected=", ".join(SUFFIXES), got=source.url)
    missing = _missing(aws, pictures, output)
    if missing:
        name = _start(aws, release, source, output, missing, fields, step)
        _wait(aws, name, len(missing), step, poll_s)
    return _collect(aws, pictures, output)


def job_calls(
    release: Release, source: S3Folder, output: S3Folder, listed: str, fields: Mapping[str, Any]
) -> list[Call]:
    """The requests that make a model for batch transform and start the job.

    Args:
        release: the export.
        source: pictures.
        output: answers.
        listed: S3 URL of the manifest that names the pictures.
        fields: target and context of all pictures.
    """
    settings = release.settings
    environment = {**settings.environment, FIELDS: json.dumps(dict(fields)), ERRORS_AS_200: "1"}
    model = Release(replace(settings, environment=environment), release.dist).model
    name = f"{settings.name}-{int(time.time())}"
    job = {
        "TransformJobName": name,
        "ModelName": model.parameters["ModelName"],
        "MaxPayloadInMB": MAX_PAYLOAD_MB,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": listed}},
            "ContentType": "application/octet-stream",
        },
        "TransformOutput": {"S3OutputPath": output.url, "Accept": "application/json"},
        "TransformResources": {
            "InstanceType": settings.instance_type,
            "InstanceCount": settings.instances or 1,
        },
        "Tags": model.parameters["Tags"],
    }
    return [model, Call("sagemaker", "create_transform_job", job)]


def _missing(aws: Aws, pictures: list[str], output: S3Folder) -> list[str]:
    there = set(output.keys(aws))
    return [picture for picture in pictures if f"{picture}{ANSWER_SUFFIX}" not in there]


def _start(
    aws: Aws,
    release: Release,
    source: S3Folder,
    output: S3Folder,
    missing: list[str],
    fields: Mapping[str, Any],
    step: Callable[[str], None],
) -> str:
    settings = release.settings
    step(f"{len(missing)} pictures to answer")
    release.upload(aws, step)
    listing = json.dumps([{"prefix": source.url}, *missing]).encode()
    listed = settings.folder.write(aws, f"transform/{int(time.time())}.manifest", listing)
    model, job = job_calls(release, source, output, listed, fields)
    aws.make(model)
    aws.send(job)
    return str(job.parameters["TransformJobName"])


def _wait(aws: Aws, name: str, count: int, step: Step, poll_s: float) -> None:
    started = time.monotonic()
    while time.monotonic() - started < WAIT_S:
        state = aws.send(Call("sagemaker", "describe_transform_job", {"TransformJobName": name}))
        status = state["TransformJobStatus"]
        if status == "Completed":
            return
        if status in ("Failed", "Stopped"):
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(
                f"the transform job {name} {status.lower()}: {reason}",
                remedy="Run it again: it goes on with the pictures that have no answer.",
            )
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        step(f"{name}: {status}, {count} pictures, {minutes}:{seconds:02d}")
        time.sleep(poll_s)
    raise AwsError(f"the transform job {name} is not done after {WAIT_S / 3600:.0f} h")


def _collect(aws: Aws, pictures: list[str], output: S3Folder) -> TransformOutcome:
    there = set(output.keys(aws))
    failed, missing = {}, []
    for picture in pictures:
        key = f"{picture}{ANSWER_SUFFIX}"
        answer = output.read(aws, key) if key in there else None
        if answer is None:
            missing.append(picture)
        elif "error" in (content := json.loads(answer)):
            failed[picture] = content["error"]["message"]
    return TransformOutcome(len(pictures) - len(failed) - len(missing), failed, missing)
