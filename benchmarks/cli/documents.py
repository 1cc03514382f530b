"""``python -m benchmarks document|reproduce``: docs/performance.md and docs/results.md."""

import json
from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.files import check_output_file, check_output_folder
from benchmarks.cli.output import write_text
from benchmarks.common.command import command_line
from benchmarks.common.results import read_results


@friendly_errors
def document(
    results: Annotated[list[Path], typer.Argument(help="results.json files of other commands.")],
    out: Annotated[Path, typer.Option(help="Document to update.")] = Path("docs/performance.md"),
) -> None:
    """Write one section of docs/performance.md per results.json; other sections are kept."""
    from benchmarks.performance import performance_document

    check_output_file(out)
    contents = [read_results(file) for file in results]
    previous = out.read_text(encoding="utf-8") if out.exists() else ""
    write_text(out, performance_document(contents, previous))
    typer.echo(f"wrote {out}")


@friendly_errors
def reproduce(
    out: Annotated[Path, typer.Option(help="Folder for images, history and run.")],
    kind: Annotated[str, typer.Option(help="Product to render: sneaker or car.")] = "sneaker",
    count: Annotated[int, typer.Option(min=100, help="Number of originals.")] = 1000,
    sends: Annotated[int, typer.Option(min=1, help="Number of sends of each candidate.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 8,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 64,
    catalogue: Annotated[
        Path | None, typer.Option(help="Also report this run on the example catalogue.")
    ] = None,
    document: Annotated[Path | None, typer.Option(help="Markdown file for the results.")] = None,
) -> None:
    """Repeat the first experiments: render, simulate, fit; write docs/results.md.

    The document's other sections are kept.
    """
    from benchmarks.common.sections import with_other_sections
    from benchmarks.reproduce import (
        OWN_SECTIONS,
        Experiment,
        read_report,
        results_document,
        run_experiment,
    )

    check_output_folder(out)
    if document is not None:
        check_output_file(document, "--document")
    experiment = Experiment(kind, count, sends, epochs, image_size)
    report = run_experiment(experiment, out)
    catalogue_report = read_report(catalogue) if catalogue else None
    if document is not None:
        text = results_document(experiment, report, command_line(), catalogue_report)
        previous = document.read_text(encoding="utf-8") if document.exists() else ""
        write_text(document, with_other_sections(text, previous, OWN_SECTIONS))
    heads = {name: head["accuracy"] for name, head in report["heads"].items()}
    print(json.dumps({"recognition": report["backbone"]["test_accuracy"], "heads": heads}))
