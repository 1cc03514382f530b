"""``python -m benchmarks hostile``: does the server hold against requests that mean no good?"""

from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.arguments import BundleArgument
from augrank.cli.command import friendly_errors
from augrank.errors import ServerError
from augrank.files import check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line

CASES = Path(__file__).parents[2] / "tests" / "cases"


@friendly_errors
def hostile(
    bundle: BundleArgument,
    corpus: Annotated[Path, typer.Option(help="Folder of any files to send.")] = CASES,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 10_000,
    connections: Annotated[int, typer.Option(min=1, max=64, help="At a time.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choices.")] = 0,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Stop sending after this.")] = 30.0,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json.")] = None,
) -> None:
    """Send damaged, mislabelled and ill-fitting requests to a server on this machine.

    Serves the bundle on loopback, sends the corpus in every form, whole and damaged, and asks a
    good request beside it all the time. Fails if augrank answers with a 5xx, a worker dies, or the
    neighbour's answer changes. A request is made from the seed and its number, so that each can be
    made again.

    Example: python -m benchmarks hostile dist/bundle --corpus tests/cases --requests 1000
    """
    from augrank.bundle.load import open_bundle
    from augrank.bundle.spec import BundleSpec
    from augrank.serving.server import ServerOptions, serve
    from benchmarks.common.requests import SAMPLE_IMAGES, image_files, requests_for
    from benchmarks.hostile.requests import HostileRequests, read_corpus
    from benchmarks.hostile.run import Extent, attack
    from benchmarks.serving.systems import json_body

    if out is not None:
        check_output_folder(out)
    files, reporter = read_corpus(corpus), TimedReporter()
    with open_bundle(bundle, BundleSpec) as opened:
        good = json_body(requests_for(opened, image_files(SAMPLE_IMAGES)[:1])[0])
        made = HostileRequests(files, opened.spec.example_fields(), seed)
        with (
            serve(opened.directory, ServerOptions(port=0)) as server,
            reporter.bar("Requests", requests, "requests") as advance,
        ):
            extent = Extent(requests, connections, 60 * max_minutes)
            figures = attack(server, made, good, extent, advance)
    about = {"benchmark": "hostile", "command": command_line(), "seed": seed}
    content = {**about, **figures.plain()}
    if out is not None:
        write_results(out, content)
    answers = sorted(figures.statuses.items())
    rows = [(str(status or "no answer"), f"{count:,}") for status, count in answers]
    print_results(content, Table("Answers to hostile requests", ("status", "requests"), rows))
    if not figures.passed:
        raise ServerError(
            "the server did not hold",
            expected="an answer to each, no 5xx of augrank's, no worker that dies, and equal "
            "answers to the neighbour",
            got=f"{len(figures.no_answers)} without an answer, {len(figures.own_errors)} errors, "
            f"{figures.worker_deaths} deaths, {figures.neighbour_faults} other answers of "
            f"{figures.neighbour_answers}",
        )
