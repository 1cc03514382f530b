"""``python -m export``: export a run for servers, and deploy it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from augrank.cli.command import friendly_errors
from augrank.cli.reporter import RichReporter
from augrank.files import check_output_folder, disk_errors
from export.kit import cli as kit
from export.sagemaker import cli as sagemaker_cli

if TYPE_CHECKING:
    from export.tasks.base import Export

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Export a finished run, deploy it to SageMaker, or pack a kit for hosts without internet.",
)
console = Console()


@app.callback()
def main() -> None:
    """Export a finished run, deploy it to SageMaker, or pack a kit for hosts without internet."""


@app.command()
@friendly_errors
def build(
    run: Annotated[Path, typer.Argument(help="Directory that `python -m training fit` wrote.")],
    out: Annotated[Path, typer.Option(help="Output directory: bundle/ and NAME.mar.")],
    name: Annotated[
        str, typer.Option(help="Model name in URLs (default: the name given to fit).")
    ] = "",
    version: Annotated[str, typer.Option(help="Version label of this export.")] = "1.0",
    int8: Annotated[
        bool, typer.Option(help="Include the int8 graph, used where it is quicker and passes.")
    ] = True,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also write an fp16 graph, the default on GPUs.")
    ] = False,
    sagemaker: Annotated[
        bool, typer.Option("--sagemaker", help="Also write model.tar.gz for SageMaker.")
    ] = False,
    rules: Annotated[
        Path | None,
        typer.Option(help="rules.yaml of a classifier: review kinds and the classes they credit."),
    ] = None,
    tags: Annotated[
        Path | None,
        typer.Option(help="tags.yaml of a classifier: defaults of labels that are not recognised."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Image folder, if it was moved since training.")
    ] = None,
) -> None:
    """Write a bundle and a .mar, after checking them against the run on held-out images.

    The parity gate compares the answers of the finished archive's handler with what each graph and
    its heads computed in training; if they differ by more than its tolerance, nothing is written.
    """

    from export.run_reader import load_run
    from export.tasks.base import ExportOptions, build_of_task

    check_output_folder(out)
    finished = load_run(run, images)
    options = ExportOptions(
        name=name or finished.record.name or run.resolve().name,
        version=version,
        int8=int8,
        fp16=fp16,
        sagemaker=sagemaker,
        rules=rules,
        tags=tags,
    )
    remedy = "Free space there, or give another --out."
    with disk_errors(out, remedy), console.status("") as status:
        build_export = build_of_task(finished.record.task)
        export = build_export(finished, out, options, lambda text: status.update(text))
    _print_export(export)


kit.register(app)
sagemaker_cli.register(app)


def _print_export(export: "Export") -> None:
    RichReporter(console).table(export.report)
    for label, message in export.rejected.items():
        console.print(f"[yellow]{label} is no server's own choice:[/yellow] {message}")
    for path in filter(None, (export.bundle, export.archive, export.model_tar)):
        console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"next: augrank serve {export.archive}", soft_wrap=True)
