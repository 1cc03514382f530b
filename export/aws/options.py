"""Options that several of the commands on SageMaker share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from augrank.aws import Aws
from augrank.cli_options import pairs
from augrank.errors import BadRequest
from export.aws.images import serving_image
from export.aws.release import Kind, Release, Settings

AWS_IMAGE = "aws"


@dataclass(frozen=True)
class AccountOptions:
    """Where in AWS."""

    region: Annotated[
        str | None, typer.Option(help="AWS region (default: AWS_REGION or the profile's).")
    ] = None
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None

    def aws(self) -> Aws:
        """Its services."""
        return Aws(self.region, self.profile)


@dataclass(frozen=True)
class HostingOptions:
    """On what an endpoint runs."""

    kind: Annotated[
        Kind, typer.Option(help="Always on; by the request (serverless); or queued in S3 (async).")
    ] = "realtime"
    instance_type: Annotated[str, typer.Option(help="Such as ml.c7i.large.")] = "ml.c7i.large"
    instances: Annotated[
        int | None,
        typer.Option(min=1, help="How many (default: 1; for an update as many as it has)."),
    ] = None
    memory_mb: Annotated[int, typer.Option(help="Of a serverless endpoint: 1024 to 6144.")] = 4096


@dataclass(frozen=True)
class ContainerOptions:
    """What runs, whatever it runs for."""

    dist: Annotated[Path, typer.Option(help="What `python -m export build --sagemaker` wrote.")] = (
        Path("dist")
    )
    image: Annotated[
        str,
        typer.Option(help="Container image in ECR; `aws` for AWS's PyTorch 2.6 image for CPUs."),
    ] = AWS_IMAGE
    role: Annotated[
        str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN of the role the container runs under.")
    ] = ""
    bucket: Annotated[
        str | None, typer.Option(help="For the archive (default: sagemaker-REGION-ACCOUNT).")
    ] = None
    environment: Annotated[
        list[str] | None,
        typer.Option("--env", help="NAME=VALUE for the container, such as AUGRANK_CACHE_MB=64."),
    ] = None

    def release(self, aws: Aws, name: str, hosting: HostingOptions) -> Release:
        """The export as it is to run.

        Raises:
            BadRequest: the role is missing, or an option does not fit.
        """
        if not self.role:
            raise BadRequest(
                "the role is missing",
                expected="--role, or SAGEMAKER_ROLE: an ARN",
                remedy="docs/sagemaker.md has its policy as JSON.",
            )
        image = self.image
        if image == AWS_IMAGE:
            image = serving_image(aws.region, hosting.instance_type)
        settings = Settings(
            name=name,
            image=image,
            role=self.role,
            bucket=self.bucket or aws.default_bucket,
            kind=hosting.kind,
            instance_type=hosting.instance_type,
            instances=hosting.instances,
            memory_mb=hosting.memory_mb,
            environment=pairs(self.environment, "--env"),
        )
        return Release(settings, self.dist)
