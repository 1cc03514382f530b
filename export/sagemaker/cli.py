"""``python -m export deploy|update|invoke|autoscale|status|delete|transform``: SageMaker."""

import json
import mimetypes
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from augrank.aws.client import Call
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs, spread
from augrank.cli.reporter import status_line
from augrank.errors import BadRequest
from export.sagemaker import rollout
from export.sagemaker.answers import TransformResult
from export.sagemaker.autoscaling import ScalingLimits, autoscaling_calls
from export.sagemaker.autoscaling import autoscale as turn_on_autoscaling
from export.sagemaker.batch_transform import Batch
from export.sagemaker.batch_transform import transform as run_transform
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.invoke import check_smoke_answer, load_smoke_request
from export.sagemaker.invoke import invoke as send_request
from export.sagemaker.local_transform import LocalBatch, transform_here
from export.sagemaker.options import (
    AccountOptions,
    ContainerOptions,
    FolderOptions,
    HostingOptions,
)
from export.sagemaker.teardown import delete as tear_down

console = Console()
MAX_LISTED = 40  # images of each kind
VARIANT_COLUMNS = {
    "variant": "VariantName",
    "instances": "CurrentInstanceCount",
    "desired": "DesiredInstanceCount",
    "share of traffic": "CurrentWeight",
}

Name = Annotated[str, typer.Argument(help="The endpoint's name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests without sending.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (deploy, update, invoke, autoscale, status, delete, transform):
        app.command()(friendly_errors(spread(command)))


def deploy(
    name: Name,
    container: ContainerOptions,
    hosting: HostingOptions,
    account: AccountOptions,
    dry_run: DryRun = False,
) -> None:
    """Create an endpoint from an export, wait until it serves, and send it the smoke request.

    Run it again after an interrupt: it resumes.

    Example: python -m export deploy shop --dist dist --role arn:aws:iam::123456789012:role/augrank
    """
    aws = account.aws()
    release = container.release(aws, name, hosting)
    if dry_run:
        _print_calls([release.model, release.config, release.endpoint])
        return
    with status_line(console) as progress:
        rollout.deploy(Endpoint(aws, name, progress), release)
    console.print(f"[green]in service[/green]: {name} answers the smoke request")
    console.print(f"next: python -m export invoke {name} IMAGE --field target=...", soft_wrap=True)


def update(
    name: Name,
    container: ContainerOptions,
    hosting: HostingOptions,
    account: AccountOptions,
    dry_run: DryRun = False,
) -> None:
    """Replace an endpoint's export with another one, without downtime.

    The new variant of a real-time endpoint must answer the smoke request before it gets traffic;
    otherwise it is removed and the old one continues to serve. The kind of endpoint, its instances
    and its autoscaling are kept, unless an option changes them.
    """
    aws = account.aws()
    release = container.release(
        aws, name, hosting.completed_from(HostingOptions.read(Endpoint(aws, name)))
    )
    if dry_run:
        if hosting.instances is None:
            print("# InitialInstanceCount will be the current number of instances")
        _print_calls([release.model, release.config])
        return
    with status_line(console) as progress:
        rollout.update(Endpoint(aws, name, progress), release)
    console.print(f"[green]in service[/green]: {name} serves {container.dist}")


def invoke(
    name: Name,
    account: AccountOptions,
    image: Annotated[
        Path | None, typer.Argument(help="An image (default: the export's smoke request).")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE: target, context, alternates; repeatable."),
    ] = None,
    dist: Annotated[Path, typer.Option(help="Export that contains the smoke request.")] = Path(
        "dist"
    ),
) -> None:
    """Send an image to an endpoint and print the answer."""
    endpoint = Endpoint(account.aws(), name)
    if image is None:
        smoke = load_smoke_request(dist)
        answer = send_request(endpoint, smoke.body)
        check_smoke_answer(smoke, answer)
        console.print("[green]the answer matches the export's[/green]")
    else:
        try:
            body = image.read_bytes()
        except OSError as error:
            raise BadRequest(f"{image} cannot be read: {error.strerror}") from error
        kind = mimetypes.guess_type(image.name)[0] or "application/octet-stream"
        answer = send_request(endpoint, body, kind, attributes=pairs(fields, "--field"))
    print(json.dumps(answer, indent=2))


def autoscale(
    name: Name,
    account: AccountOptions,
    least: Annotated[int, typer.Option("--min", min=1, help="Minimum number of instances.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="Maximum number of instances.")] = 4,
    invocations: Annotated[
        float,
        typer.Option(min=1, help="Target per instance and minute; start with 0.7 x the maximum."),
    ] = 600.0,
    dry_run: DryRun = False,
) -> None:
    """Scale the number of instances with the load; updates keep this."""
    if most < least:
        raise BadRequest("--max is below --min", expected=f"at least {least}", got=str(most))
    limits = ScalingLimits(least, most, invocations)
    if dry_run:
        _print_calls(autoscaling_calls(name, "VARIANT", limits))
        return
    with status_line(console) as progress:
        variants = turn_on_autoscaling(Endpoint(account.aws(), name, progress), limits)
    console.print(f"{name}: {least} to {most} instances of {', '.join(variants)}")


def status(name: Name, account: AccountOptions) -> None:
    """Show the state of an endpoint and its variants."""
    state = Endpoint(account.aws(), name).state()
    if state is None:
        raise BadRequest(f"there is no endpoint {name}", remedy="Use: python -m export deploy")
    table = Table(title=f"{name}: {state['EndpointStatus']}", title_justify="left")
    for heading in VARIANT_COLUMNS:
        table.add_column(heading)
    for variant in state.get("ProductionVariants", []):
        table.add_row(*(str(variant.get(key, "-")) for key in VARIANT_COLUMNS.values()))
    console.print(table)
    if reason := state.get("FailureReason"):
        console.print(f"[red]{reason}[/red]")


def delete(
    name: Name,
    account: AccountOptions,
    bucket: Annotated[
        str | None,
        typer.Option(help="Also delete this endpoint's files in this bucket."),
    ] = None,
) -> None:
    """Delete an endpoint and everything created for it (by its tag), and nothing else."""
    with status_line(console) as progress:
        deleted = tear_down(Endpoint(account.aws(), name, progress), bucket)
    for each in deleted:
        console.print(f"deleted {each}", soft_wrap=True)
    if not deleted:
        console.print(f"found nothing of {name} to delete")


def transform(
    name: Annotated[
        str, typer.Argument(help="Name of the created resources; `delete NAME` deletes them.")
    ],
    where: FolderOptions,
    container: ContainerOptions,
    account: AccountOptions,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", help="NAME=VALUE for all images: target, context; repeatable."),
    ] = None,
    instance_type: Annotated[str, typer.Option(help="Instance type.")] = "ml.c5.xlarge",
    instances: Annotated[int, typer.Option(min=1, help="Number of instances.")] = 1,
    poll_s: Annotated[
        float | None, typer.Option(min=0.01, help="Pause between looks at the job (default: 20).")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Answer on this machine, with the bundle in --dist.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Answer all images of an S3 folder, each in a file IMAGE.out.

    Run it again after an interrupt or a failure: a running job is followed, and only images without
    an answer are sent. An output folder holds the answers of one export, input and set of fields.
    Exits with 2 while any image has no answer.

    Example: python -m export transform reviews --input s3://B/photos --output s3://B/answers
    --dt 2026-11-28 --role ROLE --field review_kind='Style Review'
    """
    aws, folders, given = account.aws(), where.folders(), pairs(fields, "--field")
    if local:
        if dry_run:
            raise BadRequest("--local sends no requests that --dry-run could show")
        with status_line(console) as progress:
            done = transform_here(
                aws, LocalBatch(container.dist, folders, given), progress=progress
            )
    else:
        hosting = HostingOptions(instance_type=instance_type, instances=instances)
        release = container.release(aws, name, hosting)
        batch = Batch(release, folders.source, folders.output, given)
        if dry_run:
            _print_calls(batch.calls("s3://.../images.manifest"))
            return
        with status_line(console) as progress:
            done = run_transform(aws, batch, progress=progress, poll_s=poll_s)
    _print_result(done)


def _print_result(done: TransformResult) -> None:
    """Print the images that failed or are missing, and the numbers.

    Raises:
        BadRequest: an image has no answer, or none could be answered.
    """
    for color, found in (("yellow", done.failed), ("red", done.missing)):
        for image, why in list(found.items())[:MAX_LISTED]:
            console.print(f"[{color}]{escape(image)}[/{color}]: {escape(why)}", soft_wrap=True)
        if len(found) > MAX_LISTED:
            console.print(f"... and {len(found) - MAX_LISTED} more")
    counts = f"{done.answered} answered, {len(done.failed)} could not be"
    console.print(f"{done.images} images: {counts}, {len(done.missing)} missing")
    if done.missing:
        raise BadRequest(
            f"{len(done.missing)} of {done.images} images have no answer yet",
            remedy="Run it again: only these are sent.",
        )
    if not done.answered:
        first = next(iter(done.failed.values()))
        raise BadRequest(f"none of {done.images} images could be answered: {first}")


def _print_calls(calls: list[Call]) -> None:
    for call in calls:
        print(call.to_text())
