"""Options that several of the commands on SageMaker share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.aws.client import Aws
from augrank.cli.options import pairs
from augrank.errors import BadRequest
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.images import serving_image
from export.sagemaker.release import Kind, Release, Settings

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
    """On what an endpoint runs; what is not said stays as it is, or is Settings' default."""

    kind: Annotated[
        Kind | None,
        typer.Option(
            help="Always on (default); by the request (serverless); or queued in S3 (async)."
        ),
    ] = None
    instance_type: Annotated[
        str | None, typer.Option(help="(default: ml.c7i.large; for an update what it has)")
    ] = None
    instances: Annotated[
        int | None,
        typer.Option(min=1, help="How many (default: 1; for an update as many as it has)."),
    ] = None
    memory_mb: Annotated[
        int | None, typer.Option(help="Of a serverless endpoint: 1024 to 6144 (default: 4096).")
    ] = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> "HostingOptions":
        """Those of an endpoint that is there, but for the number of its instances.

        Raises:
            AwsError: it is not there.
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
        """Those that were said."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def or_else(self, other: "HostingOptions") -> "HostingOptions":
        """What was said, and of the other what was not."""
        return HostingOptions(**{**other.given, **self.given})


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
