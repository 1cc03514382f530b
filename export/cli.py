"""``python -m export``: a run becomes what servers load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.cli.command import friendly_errors
from export.sagemaker.cli import register

if TYPE_CHECKING:
    from export.parity.figures import Way

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Export a finished run, and bring it to SageMaker.",
)
console = Console()


@app.callback()
def main() -> None:
    """Export a finished run, and bring it to SageMaker."""


@app.command()
@friendly_errors
def build(
    run: Annotated[Path, typer.Argument(help="Directory that `python -m training fit` wrote.")],
    out: Annotated[Path, typer.Option(help="Where bundle/ and NAME.mar go.")],
    name: Annotated[
        str, typer.Option(help="The model's name in URLs; by default the one that fit was given.")
    ] = "",
    version: Annotated[str, typer.Option(help="Your own version of this export.")] = "1.0",
    int8: Annotated[
        bool, typer.Option("--int8", help="Also quantize; used by default if its gate is passed.")
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also a graph for GPUs, used there by default.")
    ] = False,
    openvino: Annotated[
        bool,
        typer.Option("--openvino", help="Also compare under OpenVINO, and choose its graph."),
    ] = False,
    sagemaker: Annotated[
        bool, typer.Option("--sagemaker", help="Also write model.tar.gz, the same for SageMaker.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Where the images are, if they moved since training.")
    ] = None,
) -> None:
    """Write a bundle and a .mar, after checking them against the run on held-out images.

    The parity gate asks the finished archive's own handler and compares it with what torch and
    XGBoost gave in training; beyond its tolerance nothing is written.
    """
    from augrank.models.head import import_xgboost_alone

    import_xgboost_alone()
    from export.run_reader import load_run
    from export.tasks.recommend import build as build_export  # the other commands need no torch

    finished = load_run(run, images)
    with console.status("") as status:
        made = build_export(
            finished,
            out,
            name=name or finished.record.name or run.resolve().name,
            version=version,
            int8=int8,
            fp16=fp16,
            openvino=openvino,
            sagemaker=sagemaker,
            step=lambda text: status.update(text),
        )
    console.print(_parity_table(made.spec))
    for way, why in made.refused.items():
        told = f"[yellow]{way.label} does not pass its gate:[/yellow] {'; '.join(why)}."
        console.print(f"{told} {_consequence(way, made.spec)}")
    for path in filter(None, (made.bundle, made.archive, made.model_tar)):
        console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"next: augrank serve {made.archive}", soft_wrap=True)


register(app)


def _consequence(way: "Way", spec: RecommendSpec) -> str:
    if way.device != "cpu":
        return f"{way.device} takes it only where AUGRANK_PRECISION={way.precision} asks for it."
    if way.precision in spec.graphs:
        return (
            f"It is in the bundle, used only where AUGRANK_PRECISION={way.precision} asks for it."
        )
    return "It was left out."


def _parity_table(spec: RecommendSpec) -> Table:
    table = Table(title="Parity with training, through the archive")
    for heading in ("graph", "questions", "max |Δp|", "rank corr.", "same best", "cosine"):
        table.add_column(heading, justify="left" if heading == "graph" else "right")
    defaults = {str(spec.precision)}
    if spec.openvino_precision is not None:
        defaults.add(f"{spec.openvino_precision}, openvino")
    for graph, figures in spec.parity.items():
        default = " (default)" if graph in defaults else ""
        table.add_row(
            graph + default,
            str(figures.images),
            f"{figures.max_probability_difference:.4f}",
            f"{figures.rank_correlation:.4f}",
            f"{figures.top1_agreement:.1%}",
            f"{figures.embedding_cosine:.5f}",
        )
    return table
