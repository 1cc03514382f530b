"""``python -m benchmarks``: a table for people, and one line of JSON at the end."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from augrank.bundle import open_bundle
from augrank.cli_errors import friendly_errors
from augrank.cores import usable_cores
from augrank.errors import BadRequest
from benchmarks.pipeline import (
    STAGES,
    PipelineResult,
    performance_document,
    result_json,
    time_pipeline,
)
from benchmarks.seeds import Experiment, read_report, results_document, run_experiment

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Time training and serving.")
console = Console()
CATALOGUE = Path(__file__).parents[1] / "examples" / "catalogue" / "images"


@app.callback()
def main() -> None:
    """Time training and serving."""


@app.command()
@friendly_errors
def pipeline(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")],
    images: Annotated[Path, typer.Option(help="Folder of pictures to ask about.")] = CATALOGUE,
    rounds: Annotated[int, typer.Option(min=5, help="Requests timed for each row.")] = 60,
    threads: Annotated[int, typer.Option(help="Intra-op threads; 0 for all cores.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write results.json here.")] = None,
    document: Annotated[Path | None, typer.Option(help="Also write the table here.")] = None,
) -> None:
    """Time the request pipeline by stage, in process, against the raw forward pass."""
    pictures = sorted(p for p in images.glob("*") if p.suffix in (".png", ".jpg", ".jpeg"))
    if not pictures:
        raise BadRequest("there are no pictures", expected="PNG or JPEG files", got=str(images))
    threads = threads or usable_cores()
    with open_bundle(bundle) as opened:
        results = list(time_pipeline(opened, pictures, rounds=rounds, threads=threads))
        content = result_json(opened, results, rounds=rounds, threads=threads)
    console.print(_table(results))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if document is not None:
        _write(document, performance_document(content, _command()))
    print(json.dumps(content))


@app.command()
@friendly_errors
def seeds(
    out: Annotated[Path, typer.Option(help="Pictures, history and run go here.")],
    kind: Annotated[str, typer.Option(help="sneaker or car.")] = "sneaker",
    count: Annotated[int, typer.Option(min=100, help="Originals.")] = 1000,
    sends: Annotated[int, typer.Option(min=1, help="Of each candidate.")] = 10,
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    catalogue: Annotated[
        Path | None, typer.Option(help="A run on the example catalogue, to report beside it.")
    ] = None,
    document: Annotated[Path | None, typer.Option(help="Write the results here.")] = None,
) -> None:
    """Repeat the first experiments: render, simulate, fit; write docs/results.md."""
    experiment = Experiment(kind, count, sends, epochs, image_size)
    report = run_experiment(experiment, out)
    beside = read_report(catalogue) if catalogue else None
    text = results_document(experiment, report, _command(), beside)
    if document is not None:
        _write(document, text)
    heads = {name: head["accuracy"] for name, head in report["heads"].items()}
    print(json.dumps({"recognition": report["backbone"]["test_accuracy"], "heads": heads}))


def _write(document: Path, text: str) -> None:
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(text, encoding="utf-8")


def _command() -> str:
    """What was typed."""
    return "python -m benchmarks " + shlex.join(sys.argv[1:])


def _table(results: list[PipelineResult]) -> Table:
    table = Table(title="One request, in process: median ms (95 % interval)")
    table.add_column("graph, picture")
    for heading in (*STAGES, "raw forward", "pipeline / forward"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            f"{result.precision}, {result.picture}",
            *(f"{result.stages_ms[stage].median:.2f}" for stage in STAGES),
            result.forward_ms.shown(),
            result.pipeline_over_forward.shown(),
        )
    return table
