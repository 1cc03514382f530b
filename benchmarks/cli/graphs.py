"""``python -m benchmarks graphs``: what int8 costs in accuracy."""

from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.command import command_errors
from augrank.files import check_output_file, check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results, write_text
from benchmarks.common.command import command_line


def graphs(
    out: Annotated[
        Path, typer.Option(help="Folder for images, history, runs and results.json.")
    ] = (Path("build/bench/graphs")),
    backbones: Annotated[
        str, typer.Option(help="Comma-separated networks to train.")
    ] = "resnet18,resnet50",
    count: Annotated[int, typer.Option(min=100, help="Number of originals.")] = 1500,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 6,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 96,
    document: Annotated[
        Path | None, typer.Option(help="Markdown file whose section is written, or replaced.")
    ] = None,
) -> None:
    """Compare int8 with fp32, each with heads of its own, where the image decides outcomes.

    Renders products, simulates outcomes, and fits a run for each backbone: 20 minutes on two cores.
    After an interrupt, run it again: finished parts are kept.
    """
    with command_errors(lambda: f"interrupted; resume with: {command_line()}"):
        from benchmarks.common.sections import with_section
        from benchmarks.graphs import Experiment, graphs_section, measure_graphs

        check_output_folder(out)
        if document is not None:
            check_output_file(document, "--document")
        names = tuple(name.strip() for name in backbones.split(",") if name.strip())
        experiment = Experiment(names, count, epochs=epochs, image_size=image_size)
        content = measure_graphs(experiment, out, command_line())
        write_results(out, content)
        if document is not None:
            previous = document.read_text(encoding="utf-8") if document.exists() else ""
            write_text(document, with_section(previous, graphs_section(content)))
        print_results({"backbones": content["backbones"]}, _table(content["backbones"]))


def _table(rows: dict[str, dict[str, dict[str, dict[str, float]]]]) -> Table:
    cells = [
        (
            f"{backbone}, {name}",
            f"{graph['test_accuracy']:.2%}",
            f"{graph['accuracy']:.4f}",
            f"{graph['log_loss']:.4f}",
            f"{graph['regret']:.4f}",
        )
        for backbone, row in rows.items()
        for name, graph in row["graphs"].items()
    ]
    columns = ("backbone, graph", "recognised", "accuracy", "log loss", "regret")
    return Table("Each graph with heads of its own, test split", columns, cells)
