"""Options that several SageMaker commands share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.aws.client import Aws
from augrank.aws.s3 import S3Folder
from augrank.cli.options import pairs
from augrank.errors import BadRequest
from export.sagemaker.answers import AnswerFolder
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.images import serving_image
from export.sagemaker.release import Kind, Release, Settings

AWS_IMAGE = "aws"


@dataclass(frozen=True)
class AccountOptions:
    """AWS region and profile."""

    region: Annotated[
        str | None, typer.Option(help="AWS region (default: AWS_REGION or the profile's).")
    ] = None
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None

    def aws(self) -> Aws:
        """Return the services of this region."""
        return Aws(self.region, self.profile)


@dataclass(frozen=True)
class HostingOptions:
    """The resources of an endpoint; an omitted option keeps its value, or has a default."""

    kind: Annotated[
        Kind | None,
        typer.Option(
            help="realtime (default), serverless (billed per request), or async (queued in S3)."
        ),
    ] = None
    instance_type: Annotated[
        str | None,
        typer.Option(help="Instance type (default: ml.c7i.large; an update keeps its own)."),
    ] = None
    instances: Annotated[
        int | None,
        typer.Option(min=1, help="Number of instances (default: 1; an update keeps its own)."),
    ] = None
    memory_mb: Annotated[
        int | None,
        typer.Option(help="Memory of a serverless endpoint: 1024 to 6144 (default: 4096)."),
    ] = None

    @classmethod
    def read(cls, endpoint: Endpoint) -> "HostingOptions":
        """Read the options of an existing endpoint, without its number of instances.

        Raises:
            AwsError: it does not exist.
        """
        config = endpoint.existing_config()
        variant = config["ProductionVariants"][0]
        serverless = variant.get("ServerlessConfig", {})
        kind: Kind = "serverless" if serverless else "realtime"
        if config.get("AsyncInferenceConfig"):
            kind = "async"
        return cls(
            kind=kind,
            instance_type=variant.get("InstanceType"),
            memory_mb=serverless.get("MemorySizeInMB"),
        )

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def completed_from(self, other: "HostingOptions") -> "HostingOptions":
        """Return these options, with missing ones taken from others."""
        return HostingOptions(**{**other.given, **self.given})


@dataclass(frozen=True)
class ContainerOptions:
    """The contents and settings of the container."""

    dist: Annotated[
        Path, typer.Option(help="Directory that `python -m export build --sagemaker` wrote.")
    ] = Path("dist")
    image: Annotated[
        str,
        typer.Option(help="Container image in ECR, or `aws` for AWS's PyTorch 2.6 image."),
    ] = AWS_IMAGE
    role: Annotated[
        str,
        typer.Option(
            envvar="SAGEMAKER_ROLE", help="ARN of the role that the container runs under."
        ),
    ] = ""
    bucket: Annotated[
        str | None, typer.Option(help="Bucket of the archive (default: sagemaker-REGION-ACCOUNT).")
    ] = None
    environment: Annotated[
        list[str] | None,
        typer.Option("--env", help="NAME=VALUE for the container, such as AUGRANK_CACHE_MB=64."),
    ] = None

    def release(self, aws: Aws, name: str, hosting: HostingOptions) -> Release:
        """Return the export with its settings.

        Raises:
            BadRequest: the role is missing, or an option is invalid.
        """
        if not self.role:
            raise BadRequest(
                "the role is missing",
                expected="--role, or SAGEMAKER_ROLE: an ARN",
                remedy="docs/sagemaker.md has the role's policy as JSON.",
            )
        settings = Settings(
            name=name,
            image=self.image,
            role=self.role,
            bucket=self.bucket or aws.default_bucket,
            environment=pairs(self.environment, "--env"),
            **hosting.given,
        )
        if self.image == AWS_IMAGE:
            image = serving_image(aws.region, settings.instance_type)
            settings = replace(settings, image=image)
        return Release(settings, self.dist)


@dataclass(frozen=True)
class FolderOptions:
    """The folders of a batch."""

    source: Annotated[str, typer.Option("--input", help="s3://BUCKET/FOLDER of the images.")]
    output: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER for the answers.")]
    dt: Annotated[
        str | None,
        typer.Option(help="A day, YYYY-MM-DD: only the folder dt=YYYY-MM-DD in both."),
    ] = None

    def folders(self) -> AnswerFolder:
        """Return the images and their answers, of the day if there is one.

        Raises:
            BadRequest: an option is no S3 URL, or no day.
        """
        source, output = (
            S3Folder.parse(self.source, "--input"),
            S3Folder.parse(self.output, "--output"),
        )
        if self.dt is not None:
            source, output = source.partition(self.dt), output.partition(self.dt)
        return AnswerFolder(source, output)
