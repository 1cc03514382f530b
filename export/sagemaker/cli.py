"""``python -m export deploy|update|invoke|autoscale|status|delete|transform``: on SageMaker."""

import json
import mimetypes
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from augrank.aws.client import Call
from augrank.aws.s3 import S3Folder
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs, spread
from augrank.cli.reporter import status_line
from augrank.errors import BadRequest
from export.sagemaker import rollout
from export.sagemaker.autoscaling import autoscale as scale
from export.sagemaker.autoscaling import scaling_calls
from export.sagemaker.batch_transform import Batch
from export.sagemaker.batch_transform import transform as run_transform
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.invoke import SmokeQuestion, ask
from export.sagemaker.options import AccountOptions, ContainerOptions, HostingOptions
from export.sagemaker.teardown import delete as remove

console = Console()
VARIANT_COLUMNS = (
    "VariantName", "CurrentInstanceCount", "DesiredInstanceCount", "CurrentWeight",
)  # fmt: skip

Name = Annotated[str, typer.Argument(help="The endpoint's name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests, send none.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (deploy, update, invoke, autoscale, status, delete, transform):
        app.command()(friendly_errors(spread(command)))


def deploy(
    name: Name,
    container: ContainerOptions,
    hosting: HostingOptions,
    account: AccountOptions,
    dry_run: DryRun = False,
) -> None:
    """Make an endpoint from an export, wait until it serves, and ask it the smoke question.

    Run it again after an interrupt: it goes on where it was.

    Example: python -m export deploy shop --dist dist --role arn:aws:iam::123456789012:role/augrank
    """
    aws = account.aws()
    release = container.release(aws, name, hosting)
    if dry_run:
        _print_calls([release.model, release.config, release.endpoint])
        return
    with status_line(console) as step:
        rollout.deploy(Endpoint(aws, name, step), release)
    console.print(f"[green]in service[/green]: {name} answers the smoke question")
    console.print(f"next: python -m export invoke {name} IMAGE --field target=...", soft_wrap=True)


def update(
    name: Name,
    container: ContainerOptions,
    hosting: HostingOptions,
    account: AccountOptions,
    dry_run: DryRun = False,
) -> None:
    """Let an endpoint serve another export, without a moment in which nothing healthy serves.

    A real-time endpoint's new variant is asked the smoke question before it gets traffic; where it
    does not answer as the export did, it goes and the old one serves on. The kind of endpoint, its
    instances and the autoscaling stay, unless an option says otherwise.
    """
    aws = account.aws()
    release = container.release(aws, name, hosting.or_else(HostingOptions.of(Endpoint(aws, name))))
    if dry_run:
        if hosting.instances is None:
            print("# InitialInstanceCount will be the number of instances that serve then")
        _print_calls([release.model, release.config])
        return
    with status_line(console) as step:
        rollout.update(Endpoint(aws, name, step), release)
    console.print(f"[green]in service[/green]: {name} serves {container.dist}")


def invoke(
    name: Name,
    account: AccountOptions,
    image: Annotated[
        Path | None, typer.Argument(help="An image; without one, the export's smoke question.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE: target, context, alternates; repeatable."),
    ] = None,
    dist: Annotated[Path, typer.Option(help="Where the smoke question is.")] = Path("dist"),
) -> None:
    """Ask an endpoint and print its answer."""
    endpoint = Endpoint(account.aws(), name)
    if image is None:
        question = SmokeQuestion.of(dist)
        answer = ask(endpoint, question.body)
        question.check(answer)
        console.print("[green]as the export answered[/green]")
    else:
        try:
            body = image.read_bytes()
        except OSError as error:
            raise BadRequest(f"{image} cannot be read: {error.strerror}") from error
        kind = mimetypes.guess_type(image.name)[0] or "application/octet-stream"
        answer = ask(endpoint, body, kind, attributes=pairs(fields, "--field"))
    print(json.dumps(answer, indent=2))


def autoscale(
    name: Name,
    account: AccountOptions,
    least: Annotated[int, typer.Option("--min", min=1, help="Instances, at least.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="Instances, at most.")] = 4,
    invocations: Annotated[
        float,
        typer.Option(min=1, help="Per instance and minute; MaxInvocations x 0.7 is a good start."),
    ] = 600.0,
    dry_run: DryRun = False,
) -> None:
    """Let the number of instances follow the requests; updates keep it so."""
    if most < least:
        raise BadRequest("--max is below --min", expected=f"at least {least}", got=str(most))
    if dry_run:
        _print_calls(scaling_calls(name, "VARIANT", least, most, invocations))
        return
    with status_line(console) as step:
        variants = scale(Endpoint(account.aws(), name, step), least, most, invocations)
    console.print(f"{name}: {least} to {most} instances of {', '.join(variants)}")


def status(name: Name, account: AccountOptions) -> None:
    """Say what an endpoint is and does."""
    state = Endpoint(account.aws(), name).state()
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


def delete(
    name: Name,
    account: AccountOptions,
    bucket: Annotated[
        str | None,
        typer.Option(help="Empty it of this endpoint's files too (those of its models always)."),
    ] = None,
) -> None:
    """Remove an endpoint and all that was made for it (by its tag), and nothing else."""
    with status_line(console) as step:
        removed = remove(Endpoint(account.aws(), name, step), bucket)
    for what in removed:
        console.print(f"removed {what}", soft_wrap=True)
    if not removed:
        console.print(f"there was nothing of {name}")


def transform(
    name: Annotated[str, typer.Argument(help="Marks what is made; `delete NAME` removes it.")],
    source: Annotated[str, typer.Option("--input", help="s3://BUCKET/FOLDER of images.")],
    output: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER for answers.")],
    container: ContainerOptions,
    account: AccountOptions,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE of all images: target, context; repeatable."),
    ] = None,
    instance_type: Annotated[str, typer.Option(help="Such as ml.c5.xlarge.")] = "ml.c5.xlarge",
    instances: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    dry_run: DryRun = False,
) -> None:
    """Answer a whole S3 folder of images, one IMAGE.out each.

    Run it again after an interrupt or a failure: a job that is still at work is followed, and only
    images without an answer are asked. An output folder holds the answers to one question.
    """
    aws, given = account.aws(), pairs(fields, "--field")
    hosting = HostingOptions(instance_type=instance_type, instances=instances)
    release = container.release(aws, name, hosting)
    folders = S3Folder.parse(source, "--input"), S3Folder.parse(output, "--output")
    batch = Batch(release, *folders, given)
    if dry_run:
        _print_calls(batch.calls("s3://.../images.manifest"))
        return
    with status_line(console) as step:
        outcome = run_transform(aws, batch, step=step)
    for image, error in outcome.failed.items():
        console.print(f"[yellow]{image}[/yellow]: {error}", soft_wrap=True)
    console.print(f"{outcome.answered} answered, {len(outcome.failed)} could not be")
    if outcome.missing:
        raise BadRequest(
            f"{len(outcome.missing)} images have no answer yet", remedy="Run it again."
        )


def _print_calls(calls: list[Call]) -> None:
    for call in calls:
        print(call.to_text())
