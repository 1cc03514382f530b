"""An export as SageMaker's model, variant and endpoint config.

    model.tar.gz ─ S3 ─ model ─ variant ─ endpoint config ─ endpoint

Each is named by a digest of its contents and tagged with its endpoint. So an interrupted command
can be run again: existing resources are used, missing ones are created.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from augrank.aws.client import TAG, Aws, AwsError, Call, aws_errors
from augrank.aws.s3 import S3Folder
from augrank.bundle.load import sha256_of
from augrank.errors import BadRequest
from augrank.reporting import ShowStatus

Kind = Literal["realtime", "serverless", "async"]
ARCHIVE = "model.tar.gz"
MAX_REQUEST_BYTES = 25 * 1024 * 1024  # SageMaker's limit
# AWS's image starts TorchServe with a limit of 6.5 MB.
ENVIRONMENT = {
    "TS_MAX_REQUEST_SIZE": str(MAX_REQUEST_BYTES),
    "TS_MAX_RESPONSE_SIZE": str(MAX_REQUEST_BYTES),
}
NAME = re.compile("[A-Za-z0-9](-*[A-Za-z0-9])*")  # SageMaker's
MAX_NAME = 40  # of an endpoint, so that derived names fit SageMaker's 63 characters


@dataclass(frozen=True)
class Settings:
    """Settings of an endpoint."""

    name: str
    image: str  # container image in ECR
    role: str  # ARN that the container runs under
    bucket: str
    kind: Kind = "realtime"
    instance_type: str = "ml.c7i.large"
    instances: int | None = None  # None: 1 for a new endpoint, unchanged in an update
    memory_mb: int = 4096  # serverless only
    max_concurrency: int = 5  # serverless only
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> S3Folder:
        """The S3 folder of the endpoint's files."""
        return folder_of(self.name, self.bucket)


@dataclass(frozen=True)
class Release:
    """An export with its settings, and the requests that deploy it."""

    settings: Settings
    dist: Path

    def __post_init__(self) -> None:
        name = self.settings.name
        if not NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise BadRequest(
                "invalid endpoint name",
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
        """The archive's key in the endpoint's folder; it contains a digest of the archive."""
        return f"{sha256_of(self.archive)[:16]}/{ARCHIVE}"

    @property
    def model(self) -> Call:
        """The request that creates the model."""
        settings = self.settings
        container = {
            "Image": settings.image,
            "ModelDataUrl": settings.folder.url + self.key,
            "Environment": {**ENVIRONMENT, **settings.environment},
        }
        parameters = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
        return Call("sagemaker", "create_model", named(settings.name, "ModelName", parameters))

    @property
    def variant(self) -> dict[str, Any]:
        """The production variant that serves it.

        Its name is a digest of everything except the number of instances: two variants of one name
        are the same, and an endpoint cannot have both.
        """
        settings = self.settings
        parameters: dict[str, Any] = {"ModelName": self.model.parameters["ModelName"]}
        if settings.kind == "serverless":
            parameters["ServerlessConfig"] = {
                "MemorySizeInMB": settings.memory_mb,
                "MaxConcurrency": settings.max_concurrency,
            }
        else:
            parameters["InstanceType"] = settings.instance_type
        name = f"{settings.name}-{digest({**parameters, **self._async_config})}"
        if settings.kind != "serverless":
            parameters["InitialInstanceCount"] = settings.instances or 1
        return {"VariantName": name, "InitialVariantWeight": 1.0, **parameters}

    @property
    def config(self) -> Call:
        """The request that creates the endpoint's config, with only this release."""
        return config_call(
            self.settings.name, {"ProductionVariants": [self.variant], **self._async_config}
        )

    @property
    def endpoint(self) -> Call:
        """The request that creates the endpoint."""
        parameters = {
            "EndpointName": self.settings.name,
            "EndpointConfigName": self.config.parameters["EndpointConfigName"],
            "Tags": tags(self.settings.name),
        }
        return Call("sagemaker", "create_endpoint", parameters)

    def with_instances(self, instances: int) -> "Release":
        """Return the same release with another number of instances."""
        return replace(self, settings=replace(self.settings, instances=instances))

    def upload(self, aws: Aws, progress: ShowStatus) -> None:
        """Upload the archive, unless it is in the bucket.

        Unfinished uploads of a killed call are aborted first: an endpoint has one upload at a time.
        """
        folder = self.settings.folder
        for upload in folder.abort_uploads(aws):
            progress(f"aborting {upload}")
        if self._uploaded(aws):
            return
        progress(f"uploading {self.archive} to {folder.url}{self.key}")
        with aws_errors():
            aws.client("s3").upload_file(str(self.archive), folder.bucket, folder.prefix + self.key)

    @property
    def _async_config(self) -> dict[str, Any]:
        """Settings for where an asynchronous endpoint writes its answers."""
        if self.settings.kind != "async":
            return {}
        url = self.settings.folder.url
        output = {"S3OutputPath": f"{url}answers/", "S3FailurePath": f"{url}failures/"}
        return {"AsyncInferenceConfig": {"OutputConfig": output}}

    def _uploaded(self, aws: Aws) -> bool:
        folder = self.settings.folder
        try:
            head = aws.send(Call("s3", "head_object", folder.location(self.key)))
        except AwsError as error:
            if error.aws_code == "404":
                return False
            raise
        return bool(head["ContentLength"] == self.archive.stat().st_size)


def folder_of(name: str, bucket: str) -> S3Folder:
    """Return the folder of an endpoint's files in a bucket."""
    return S3Folder(bucket, f"augrank/{name}/")


def tags(name: str) -> list[dict[str, str]]:
    """Return the tags of resources that are created for an endpoint."""
    return [{"Key": TAG, "Value": name}]


def named(name: str, key: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Add an endpoint's tag to parameters, and a name that contains a digest of them."""
    return {key: f"{name}-{digest(parameters)}", **parameters, "Tags": tags(name)}


def config_call(name: str, parameters: Mapping[str, Any]) -> Call:
    """Return the request that creates a config for an endpoint."""
    return Call(
        "sagemaker", "create_endpoint_config", named(name, "EndpointConfigName", parameters)
    )


def digest(parameters: Mapping[str, Any]) -> str:
    """Return the first twelve characters of the SHA-256 of a request's parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
