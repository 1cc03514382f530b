"""``python -m export deploy|update|invoke|autoscale|status|delete|transform``: on SageMaker."""

import json
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from augrank.cli_errors import friendly_errors
from augrank.errors import BadRequest
from export.aws.clients import Aws, Call
from export.aws.endpoint import Endpoint, Kind, Release, Settings, SmokeQuestion, scaling_calls
from export.aws.transform import S3Folder, job_calls
from export.aws.transform import transform as run_transform

console = Console()
AWS_IMAGE = "aws"
VARIANT_COLUMNS = (
    "VariantName", "CurrentInstanceCount", "DesiredInstanceCount", "CurrentWeight",
)  # fmt: skip

Name = Annotated[str, typer.Argument(help="The endpoint's name.")]
Region = Annotated[
    str | None, typer.Option(help="AWS region (default: AWS_REGION or the profile's).")
]
Profile = Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests, send none.")]
Dist = Annotated[Path, typer.Option(help="What `python -m export build --sagemaker` wrote.")]
Image = Annotated[
    str, typer.Option(help="Container image in ECR; `aws` for AWS's PyTorch 2.6 image for CPUs.")
]
Role = Annotated[
    str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN of the role the container runs under.")
]
Bucket = Annotated[
    str | None, typer.Option(help="For the archive (default: sagemaker-REGION-ACCOUNT).")
]
KindOption = Annotated[
    Kind, typer.Option(help="Always on; by the request (serverless); or queued in S3 (async).")
]
InstanceType = Annotated[str, typer.Option(help="Such as ml.c7i.large.")]
Instances = Annotated[int, typer.Option(min=1, help="How many, to begin with.")]
MemoryMb = Annotated[int, typer.Option(help="Of a serverless endpoint: 1024 to 6144.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", help="NAME=VALUE for the container, such as AUGRANK_CACHE_MB=64."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (deploy, update, invoke, autoscale, status, delete, transform):
        app.command()(friendly_errors(command))


def deploy(
    name: Name,
    dist: Dist = Path("dist"),
    image: Image = AWS_IMAGE,
    role: Role = "",
    bucket: Bucket = None,
    kind: KindOption = "realtime",
    instance_type: InstanceType = "ml.c7i.large",
    instances: Instances = 1,
    memory_mb: MemoryMb = 4096,
    environment: Environment = None,
    region: Region = None,
    profile: Profile = None,
    dry_run: DryRun = False,
) -> None:
    """Make an endpoint from an export, wait until it serves, and ask it the smoke question.

    Run it again after an interrupt: it goes on where it was.

    Example: python -m export deploy shop --dist dist --role arn:aws:iam::123456789012:role/augrank
    """
    aws = _aws(region, profile)
    settings = _settings(
        aws, name, image, role, bucket, kind, instance_type, instances, memory_mb, environment
    )
    release = Release(settings, dist)
    if dry_run:
        _print_calls([release.model, release.config, release.endpoint])
        return
    with _progress() as step:
        Endpoint(aws, name, step).deploy(release)
    console.print(f"[green]in service[/green]: {name} answers the smoke question")
    console.print(
        f"next: python -m export invoke {name} PICTURE --field target=...", soft_wrap=True
    )


def update(
    name: Name,
    dist: Dist = Path("dist"),
    image: Image = AWS_IMAGE,
    role: Role = "",
    bucket: Bucket = None,
    kind: KindOption = "realtime",
    instance_type: InstanceType = "ml.c7i.large",
    instances: Instances = 1,
    memory_mb: MemoryMb = 4096,
    environment: Environment = None,
    region: Region = None,
    profile: Profile = None,
    dry_run: DryRun = False,
) -> None:
    """Let an endpoint serve another export, without a moment in which nothing healthy serves.

    A real-time endpoint's new variant is asked the smoke question before it gets traffic; where it
    does not answer as the export did, it goes and the old one serves on.
    """
    aws = _aws(region, profile)
    settings = _settings(
        aws, name, image, role, bucket, kind, instance_type, instances, memory_mb, environment
    )
    release = Release(settings, dist)
    if dry_run:
        _print_calls([release.model, release.config])
        return
    with _progress() as step:
        Endpoint(aws, name, step).update(release)
    console.print(f"[green]in service[/green]: {name} serves {dist}")


def invoke(
    name: Name,
    picture: Annotated[
        Path | None, typer.Argument(help="A picture; without one, the export's smoke question.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE: target, context, alternates; repeatable."),
    ] = None,
    dist: Dist = Path("dist"),
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Ask an endpoint and print its answer."""
    endpoint = Endpoint(_aws(region, profile), name)
    if picture is None:
        question = SmokeQuestion.of(dist)
        answer = endpoint.invoke(question.body)
        question.check(answer)
        console.print("[green]as the export answered[/green]")
    else:
        try:
            body = picture.read_bytes()
        except OSError as error:
            raise BadRequest(f"{picture} cannot be read: {error.strerror}") from error
        kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        answer = endpoint.invoke(body, kind, attributes=_pairs(fields, "--field"))
    print(json.dumps(answer, indent=2))


def autoscale(
    name: Name,
    least: Annotated[int, typer.Option("--min", min=1, help="Instances, at least.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="Instances, at most.")] = 4,
    invocations: Annotated[
        float,
        typer.Option(min=1, help="Per instance and minute; MaxInvocations x 0.7 is a good start."),
    ] = 600.0,
    region: Region = None,
    profile: Profile = None,
    dry_run: DryRun = False,
) -> None:
    """Let the number of instances follow the requests."""
    if most < least:
        raise BadRequest("--max is below --min", expected=f"at least {least}", got=str(most))
    if dry_run:
        _print_calls(scaling_calls(name, "VARIANT", least, most, invocations))
        return
    with _progress() as step:
        variants = Endpoint(_aws(region, profile), name, step).autoscale(least, most, invocations)
    console.print(f"{name}: {least} to {most} instances of {', '.join(variants)}")


def status(name: Name, region: Region = None, profile: Profile = None) -> None:
    """Say what an endpoint is and does."""
    state = Endpoint(_aws(region, profile), name).state()
    if state is None:
        raise BadRequest(f"there is no endpoint {name}", remedy="Use: python -m export deploy")
    table = Table(title=f"{name}: {state['EndpointStatus']}", title_justify="left")
    for heading in ("variant", "instances", "wanted", "share of traffic"):
        table.add_column(heading)
    for variant in state.get("ProductionVariants", []):
        table.add_row(*(str(variant.get(key, "-")) for key in VARIANT_COLUMNS))
    console.print(table)
    if reason := state.get("FailureReason"):
        console.print(f"[red]{reason}[/red]")


def delete(name: Name, region: Region = None, profile: Profile = None) -> None:
    """Remove an endpoint and all that was made for it (by its tag), and nothing else."""
    with _progress() as step:
        removed = Endpoint(_aws(region, profile), name, step).delete()
    for what in removed:
        console.print(f"removed {what}", soft_wrap=True)
    if not removed:
        console.print(f"there was nothing of {name}")


def transform(
    name: Annotated[str, typer.Argument(help="Marks what is made; `delete NAME` removes it.")],
    source: Annotated[str, typer.Option("--input", help="s3://BUCKET/FOLDER of pictures.")],
    output: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER for answers.")],
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE of all pictures: target, context; repeatable."),
    ] = None,
    dist: Dist = Path("dist"),
    image: Image = AWS_IMAGE,
    role: Role = "",
    bucket: Bucket = None,
    instance_type: InstanceType = "ml.c5.xlarge",
    instances: Instances = 1,
    environment: Environment = None,
    region: Region = None,
    profile: Profile = None,
    dry_run: DryRun = False,
) -> None:
    """Answer a whole S3 folder of pictures, one PICTURE.out each.

    Run it again after an interrupt or a failure: only pictures without an answer are asked.
    """
    aws = _aws(region, profile)
    settings = _settings(
        aws, name, image, role, bucket, "realtime", instance_type, instances, 0, environment
    )
    release, given = Release(settings, dist), _pairs(fields, "--field")
    folders = S3Folder.of(source, "--input"), S3Folder.of(output, "--output")
    if dry_run:
        _print_calls(job_calls(release, *folders, "s3://.../pictures.manifest", given))
        return
    with _progress() as step:
        outcome = run_transform(aws, release, *folders, given, step=step)
    for picture, error in outcome.failed.items():
        console.print(f"[yellow]{picture}[/yellow]: {error}", soft_wrap=True)
    console.print(f"{outcome.answered} answered, {len(outcome.failed)} could not be")
    if outcome.missing:
        raise BadRequest(
            f"{len(outcome.missing)} pictures have no answer yet", remedy="Run it again."
        )


# --- helpers --------------------------------------------------------------------------------------


def _aws(region: str | None, profile: str | None) -> Aws:
    return Aws(region, profile)


def _settings(
    aws: Aws,
    name: str,
    image: str,
    role: str,
    bucket: str | None,
    kind: Kind,
    instance_type: str,
    instances: int,
    memory_mb: int,
    environment: list[str] | None,
) -> Settings:
    if not role:
        raise BadRequest(
            "the role is missing",
            expected="--role, or SAGEMAKER_ROLE: an ARN",
            remedy="docs/sagemaker.md has its policy as JSON.",
        )
    return Settings(
        name=name,
        image=_aws_image(aws.region, instance_type) if image == AWS_IMAGE else image,
        role=role,
        bucket=bucket or f"sagemaker-{aws.region}-{aws.account}",
        kind=kind,
        instance_type=instance_type,
        instances=instances,
        memory_mb=memory_mb,
        environment=_pairs(environment, "--env"),
    )


def _aws_image(region: str, instance_type: str) -> str:
    """The last of AWS's PyTorch inference images that holds TorchServe."""
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core import image_uris

    uri: str = image_uris.retrieve(
        "pytorch", region, version="2.6.0", py_version="py312", image_scope="inference",
        instance_type=instance_type,
    )  # fmt: skip
    return uri


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadRequest(f"{option} does not fit", expected="NAME=VALUE", got=repr(text))
        pairs[name] = value
    return pairs


def _print_calls(calls: list[Call]) -> None:
    for call in calls:
        print(call.shown())


@contextmanager
def _progress() -> Iterator[Any]:
    """A line that says what is being done; one line each where it is no terminal."""
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield lambda text: console.print(text, soft_wrap=True)
