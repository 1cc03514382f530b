"""Options that several commands share: each set is a dataclass, spread out for typer.

A command takes a set as one parameter; ``spread`` gives the command line its fields:

    @app.command()
    @spread
    def deploy(name: Name, container: ContainerOptions, account: AccountOptions) -> None: ...
"""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from augrank.errors import BadRequest
from export.aws.clients import Aws
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
            image = _aws_image(aws.region, hosting.instance_type)
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


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its option sets as parameters of their own."""
    sets = {
        name: hint
        for name, hint in get_type_hints(command).items()
        if is_dataclass(hint) and isinstance(hint, type)
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, options in sets.items():
            given[name] = options(**{f.name: given.pop(f.name) for f in fields(options)})
        command(**given)

    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        own = [parameter]
        if parameter.name in sets:
            own = list(inspect.signature(sets[parameter.name]).parameters.values())
        parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a dictionary.

    Raises:
        BadRequest: one has another form.
    """
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadRequest(f"{option} does not fit", expected="NAME=VALUE", got=repr(text))
        found[name] = value
    return found


def _aws_image(region: str, instance_type: str) -> str:
    """The last of AWS's PyTorch inference images that holds TorchServe."""
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core import image_uris

    uri: str = image_uris.retrieve(
        "pytorch", region, version="2.6.0", py_version="py312", image_scope="inference",
        instance_type=instance_type,
    )  # fmt: skip
    return uri
