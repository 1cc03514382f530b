"""``python -m benchmarks service``: kept answers, new images, fixes, a batch of URLs."""

from pathlib import Path
from typing import Annotated

import typer

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.cli.command import friendly_errors
from augrank.files import check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line


@friendly_errors
def service(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a classifier, or .mar archive.")],
    candidate: Annotated[
        Path | None,
        typer.Option(help="Another bundle of the same labels, to be promoted under load."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each load.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds of a load in a round.")] = 4.0,
    urls: Annotated[int, typer.Option(min=100, help="URLs of the batch.")] = 20_000,
    requests: Annotated[
        int, typer.Option(min=100, help="Requests during promotions, at least.")
    ] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for results.json.")] = Path(
        "build/bench/service"
    ),
) -> None:
    """Time the service: answers that are kept, new images, fixes, URLs, promotion under load.

    Takes ten to twenty minutes. Everything stays on this machine. After an interrupt, run it again:
    it resumes after the last measured part.
    """
    from benchmarks.service.measure import ServiceBenchConfig, measure_service
    from benchmarks.service.targets import target_rows

    check_output_folder(out)
    config = ServiceBenchConfig(rounds, seconds, urls=urls, promotion_requests=requests)
    with open_bundle(bundle, ClassifySpec) as opened:
        measured, partial_results = measure_service(
            opened, candidate, out / "work", config, TimedReporter()
        )
    content = {**measured, "command": command_line()}
    write_results(out, content)
    partial_results.delete()
    columns = ("figure", "measured", "at least", "aim", "")
    print_results(content, Table("The service", columns, target_rows(content)))
