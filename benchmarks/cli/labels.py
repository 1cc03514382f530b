"""``python -m benchmarks labels``: how well the systems that classify do on new images."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.cli.command import command_errors
from augrank.errors import BadRequest
from augrank.files import check_output_file, check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results, write_text
from benchmarks.common.command import command_line


class SystemChoice(str, Enum):  # noqa: UP042 - typer shows the values of a plain Enum
    """Systems of the source documents that classify."""

    review = "review"
    popularity = "popularity"
    inventory = "inventory"


def labels(
    system: Annotated[SystemChoice, typer.Argument(help="Which system to repeat.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the parts (default: build/labels/SYSTEM).")
    ] = None,
    backbones: Annotated[str, typer.Option(help="Comma-separated networks to train.")] = "resnet18",
    weights: Annotated[
        str,
        typer.Option(
            help="Weights to start from, none or imagenet; with commas, of each backbone."
        ),
    ] = "none",
    count: Annotated[int, typer.Option(min=100, help="Images to train and test with.")] = 12_000,
    fresh: Annotated[int, typer.Option(min=50, help="New images, of other people.")] = 2500,
    epochs: Annotated[
        str, typer.Option(help="Number of epochs; with commas, of each backbone.")
    ] = "12",
    freeze_epochs: Annotated[
        int,
        typer.Option(min=0, help="Epochs that train only the last layer, if there are weights."),
    ] = 0,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 128,
    document: Annotated[
        Path | None, typer.Option(help="Markdown file whose section is written, or replaced.")
    ] = None,
) -> None:
    """Repeat a system that classifies: render, fit, export, and classify images of other people.

    The answers are compared with what was rendered, and with the figures that the source documents
    print. After an interrupt, run it again: finished parts are kept.
    """
    with command_errors(lambda: f"interrupted; resume with: {command_line()}"):
        from benchmarks.common.sections import with_section
        from benchmarks.labels.document import labels_section
        from benchmarks.labels.measure import Experiment, measure_labels

        folder = out or Path("build/labels") / system.value
        check_output_folder(folder)
        if document is not None:
            check_output_file(document, "--document")
        names, starts, numbers = (
            tuple(name.strip() for name in text.split(",") if name.strip())
            for text in (backbones, weights, epochs)
        )
        experiment = Experiment(
            system.value, names, starts, count, fresh, _counts(numbers), image_size, freeze_epochs
        )
        content = measure_labels(experiment, folder, command_line())
        write_results(folder, content)
        if document is not None:
            previous = document.read_text(encoding="utf-8") if document.exists() else ""
            write_text(document, with_section(previous, labels_section(content)))
        print_results(content, _table(content["backbones"]))


def _counts(epochs: tuple[str, ...]) -> tuple[int, ...]:
    """Read numbers of epochs.

    Raises:
        BadRequest: one is no number from 1.
    """
    if not all(text.isdecimal() and int(text) > 0 for text in epochs):
        raise BadRequest(
            "--epochs does not fit",
            expected="whole numbers from 1, with commas",
            got=",".join(epochs),
        )
    return tuple(map(int, epochs))


def _table(backbones: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for backbone, row in backbones.items():
        for name, told in row["fresh"].items():
            if "macro_f1" in told:
                low, high = told["macro_f1_interval_95"]
                text = f"macro-F1 {told['macro_f1']:.4f} ({low:.4f} to {high:.4f})"
                text += f", accuracy {told['accuracy']:.4f}, worst class {told['worst_recall']:.3f}"
            elif "pair_accuracy" in told:
                text = f"{told['pair_accuracy']:.4f} of pairs, {told['share_of_attainable']:.1%} "
                text += f"of the {told['attainable']:.4f} that could be told"
            else:
                text = f"{told['decided']:.1%} decided, {told['right']:.2%} of these rightly"
            rows.append((backbone, name, text))
    return Table("New images", ("network", "what", "figures"), rows, ("figures",))
