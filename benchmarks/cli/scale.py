"""``python -m benchmarks scale``: what bulk scoring costs past one machine."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.bundle.load import open_bundle
from augrank.bundle.spec import BundleSpec
from augrank.cli.command import friendly_errors
from augrank.files import check_output_file, check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results, write_text
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line


@friendly_errors
def scale(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a recommender, or .mar archive.")],
    images: Annotated[
        Path, typer.Option(help="Folder of images to score, none of them the bundle's own.")
    ],
    classifier: Annotated[
        Path | None, typer.Option(help="Bundle of a classifier, for a second set of rows.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=48, help="Number of images to score and to run on Ray.")
    ] = 400,
    out: Annotated[Path, typer.Option(help="Folder for results.json.")] = Path("build/bench/scale"),
    document: Annotated[
        Path | None, typer.Option(help="Markdown file whose sections are written, or replaced.")
    ] = None,
) -> None:
    """Measure the steps of `augrank score`, and simulate it on 1 to 1,000 nodes of Ray.

    Runs it for real on one and two local nodes of one core. Needs the extra `ray`.
    """
    from benchmarks.common.sections import with_section
    from benchmarks.scale.document import scale_sections
    from benchmarks.scale.run import ScaleConfig, measure_scale

    check_output_folder(out)
    if document is not None:
        check_output_file(document, "--document")
    with ExitStack() as stack:
        bundles = [
            stack.enter_context(open_bundle(each, BundleSpec))
            for each in (bundle, classifier)
            if each is not None
        ]
        measured = measure_scale(bundles, images, ScaleConfig(count), TimedReporter())
    content = {**measured, "command": command_line()}
    write_results(out, content)
    if document is not None:
        text = document.read_text(encoding="utf-8") if document.exists() else ""
        for section in scale_sections(content):
            text = with_section(text, section)
        write_text(document, text)
    print_results(_figures(content), _table(content))


def _figures(content: dict[str, Any]) -> dict[str, Any]:
    return {name: content[name] for name in ("checks", "ray", "first_to_fail", "history")}


def _table(content: dict[str, Any]) -> Table:
    rows = [
        (
            f"{row['task']}, {row['type']} x {row['nodes']:,}",
            f"{row['hours']:.2f}",
            f"{row['usd']:,.0f}",
            f"{row['busy']['cores']:.0%}",
            row["bottleneck"],
        )
        for row in content["rows"]
    ]
    images = content["config"]["images"]
    columns = ("task, nodes", "hours", "USD", "cores busy", "bottleneck")
    return Table(f"Simulated: {images:,} images", columns, rows)
