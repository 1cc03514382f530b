"""An export as SageMaker's model, variant and endpoint config.

    model.tar.gz ─ S3 ─ model ─ variant ─ endpoint config ─ endpoint

Each is named by what it holds and tagged with its endpoint. So a command that was interrupted can
be run again: what is there already is used, what is missing is made.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from augrank.aws.client import TAG, Aws, AwsError, Call, aws_errors
from augrank.aws.s3 import S3Folder
from augrank.bundle.load import sha256_of
from augrank.errors import BadRequest

Kind = Literal["realtime", "serverless", "async"]
Step = Callable[[str], None]
ARCHIVE = "model.tar.gz"
MAX_REQUEST_BYTES = 25 * 1024 * 1024  # SageMaker's limit
# AWS's image starts TorchServe with its own limit of 6.5 MB.
ENVIRONMENT = {
    "TS_MAX_REQUEST_SIZE": str(MAX_REQUEST_BYTES),
    "TS_MAX_RESPONSE_SIZE": str(MAX_REQUEST_BYTES),
}
NAME = re.compile("[A-Za-z0-9](-*[A-Za-z0-9])*")  # SageMaker's
MAX_NAME = 40  # of an endpoint, so that names made from it fit SageMaker's 63 characters


@dataclass(frozen=True)
class Settings:
    """What a deployed endpoint is made of."""

    name: str
    image: str  # of the container, in ECR
    role: str  # ARN that the container runs under
    bucket: str
    kind: Kind = "realtime"
    instance_type: str = "ml.c7i.large"
    instances: int | None = None  # None: 1 for a new endpoint, as many as it has for an update
    memory_mb: int = 4096  # serverless only
    max_concurrency: int = 5  # serverless only
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> S3Folder:
        """Where the endpoint's files are."""
        return folder_of(self.name, self.bucket)


@dataclass(frozen=True)
class Release:
    """The requests that bring an export to an endpoint."""

    settings: Settings
    dist: Path

    def __post_init__(self) -> None:
        name = self.settings.name
        if not NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise BadRequest(
                "the endpoint's name does not fit",
                expected=f"letters a to z, digits and - between them, at most {MAX_NAME}",
                got=repr(name),
            )
        if not self.archive.is_file():
            raise BadRequest(
                f"there is no {self.archive}",
                remedy="Export with: python -m export build RUN --out DIST --sagemaker",
            )

    @property
    def archive(self) -> Path:
        """The export's model.tar.gz."""
        return self.dist / ARCHIVE

    @cached_property
    def key(self) -> str:
        """Of the archive in the endpoint's folder; another content has another one."""
        return f"{sha256_of(self.archive)[:16]}/{ARCHIVE}"

    @property
    def model(self) -> Call:
        """The request that makes the model."""
        settings = self.settings
        container = {
            "Image": settings.image,
            "ModelDataUrl": settings.folder.url + self.key,
            "Environment": {**ENVIRONMENT, **settings.environment},
        }
        what = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
        return Call("sagemaker", "create_model", named(settings.name, "ModelName", what))

    @property
    def variant(self) -> dict[str, Any]:
        """The production variant that serves it.

        Named by all but how many instances it has: of one name it is the same variant, which may
        only grow or shrink; an endpoint never holds two of one name.
        """
        settings = self.settings
        what: dict[str, Any] = {"ModelName": self.model.parameters["ModelName"]}
        if settings.kind == "serverless":
            what["ServerlessConfig"] = {
                "MemorySizeInMB": settings.memory_mb,
                "MaxConcurrency": settings.max_concurrency,
            }
        else:
            what["InstanceType"] = settings.instance_type
        name = f"{settings.name}-{digest({**what, **self._answers})}"
        if settings.kind != "serverless":
            what["InitialInstanceCount"] = settings.instances or 1
        return {"VariantName": name, "InitialVariantWeight": 1.0, **what}

    @property
    def config(self) -> Call:
        """The request that makes the endpoint's config: this release alone."""
        return config_of(
            self.settings.name, {"ProductionVariants": [self.variant], **self._answers}
        )

    @property
    def endpoint(self) -> Call:
        """The request that makes the endpoint."""
        parameters = {
            "EndpointName": self.settings.name,
            "EndpointConfigName": self.config.parameters["EndpointConfigName"],
            "Tags": tags(self.settings.name),
        }
        return Call("sagemaker", "create_endpoint", parameters)

    def with_instances(self, instances: int) -> "Release":
        """The same, with so many instances."""
        return replace(self, settings=replace(self.settings, instances=instances))

    def upload(self, aws: Aws, step: Step) -> None:
        """Bring the archive to the bucket, unless it is there.

        What a killed upload left is given up first: of one endpoint, one is made at a time.
        """
        folder = self.settings.folder
        for what in folder.abort_uploads(aws):
            step(f"giving up {what}")
        if self._uploaded(aws):
            return
        step(f"uploading {self.archive} to {folder.url}{self.key}")
        with aws_errors():
            aws.client("s3").upload_file(str(self.archive), folder.bucket, folder.prefix + self.key)

    @property
    def _answers(self) -> dict[str, Any]:
        """Where an asynchronous endpoint puts its answers."""
        if self.settings.kind != "async":
            return {}
        url = self.settings.folder.url
        output = {"S3OutputPath": f"{url}answers/", "S3FailurePath": f"{url}failures/"}
        return {"AsyncInferenceConfig": {"OutputConfig": output}}

    def _uploaded(self, aws: Aws) -> bool:
        folder = self.settings.folder
        place = {"Bucket": folder.bucket, "Key": folder.prefix + self.key}
        try:
            head = aws.send(Call("s3", "head_object", place))
        except AwsError as error:
            if error.aws_code == "404":
                return False
            raise
        return bool(head["ContentLength"] == self.archive.stat().st_size)


def folder_of(name: str, bucket: str) -> S3Folder:
    """Where an endpoint's files are in a bucket."""
    return S3Folder(bucket, f"augrank/{name}/")


def tags(name: str) -> list[dict[str, str]]:
    """What marks something as made for this endpoint."""
    return [{"Key": TAG, "Value": name}]


def named(name: str, key: str, what: Mapping[str, Any]) -> dict[str, Any]:
    """A request's parameters, under a name that says what they hold, with an endpoint's tag."""
    return {key: f"{name}-{digest(what)}", **what, "Tags": tags(name)}


def config_of(name: str, what: Mapping[str, Any]) -> Call:
    """The request that makes a config for an endpoint."""
    return Call("sagemaker", "create_endpoint_config", named(name, "EndpointConfigName", what))


def digest(what: Mapping[str, Any]) -> str:
    """Twelve characters that stand for a request's content."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
