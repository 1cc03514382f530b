"""``python -m benchmarks service|durability``: how fast it is, and whether fixes are kept."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.cli.command import command_errors, friendly_errors
from augrank.files import check_output_file, check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results, write_text
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line

EXIT_FAULTS = 1


@friendly_errors
def service(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a classifier, or .mar archive.")],
    candidate: Annotated[
        Path | None,
        typer.Option(help="Another bundle of the same labels, to be promoted under load."),
    ] = None,
    recommender: Annotated[
        Path | None,
        typer.Option(help="Bundle of a recommender, for recommendations of new images."),
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
    from benchmarks.service.measure import Others, ServiceBenchConfig, measure_service
    from benchmarks.service.targets import target_rows

    check_output_folder(out)
    config = ServiceBenchConfig(rounds, seconds, urls=urls, promotion_requests=requests)
    with ExitStack() as stack:
        opened = stack.enter_context(open_bundle(bundle, ClassifySpec))
        if candidate is not None:  # now: the service opens it late
            stack.enter_context(open_bundle(candidate, ClassifySpec))
        other = None
        if recommender is not None:
            other = stack.enter_context(open_bundle(recommender, RecommendSpec))
        measured, partial_results = measure_service(
            opened, Others(candidate, other), out / "work", config, TimedReporter()
        )
    content = {**measured, "command": command_line()}
    write_results(out, content)
    partial_results.delete()
    columns = ("figure", "measured", "at least", "aim", "")
    print_results(content, Table("The service", columns, target_rows(content)))


def durability(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a classifier, or .mar archive.")],
    database: Annotated[
        str, typer.Option(help="sqlite or postgresql; with commas, one after the other.")
    ] = "sqlite",
    operations: Annotated[
        int, typer.Option(min=1, help="Random operations on each database.")
    ] = 10_000,
    kills: Annotated[
        int, typer.Option(min=0, help="Restarts of the service by kill -9, on each database.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choices.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, and the service's files and log.")
    ] = Path("build/bench/durability"),
    document: Annotated[
        Path | None, typer.Option(help="Markdown file whose section is written, or replaced.")
    ] = None,
) -> None:
    """Correct pictures at random while the service is killed: nothing may be lost or stale.

    Three advertisers ask about the same pictures, correct them, undo, and look at their histories.
    The service, on loopback, is ended by kill -9 and started again. With postgresql, the command
    starts a PostgreSQL server, too, and kills all its processes now and then.

    Exits with 1 if a fix that was answered is gone, if an answer does not have what holds, if
    someone sees a row of another advertiser, or if a good request is refused. Files of the services
    are in OUT/sqlite-service and OUT/postgresql-service, which are emptied first. Takes 6 to 15
    minutes for each database on two cores. Kills come at other moments each time: only the choices
    are of the seed.

    Example: python -m benchmarks durability build/demo-classify/dist/bundle
    --database sqlite,postgresql --document docs/results.md
    """
    with command_errors(lambda: f"interrupted; start again with: {command_line()}"):
        from benchmarks.common.sections import with_section
        from benchmarks.durability.document import durability_section
        from benchmarks.durability.measure import measure_durability
        from benchmarks.durability.run import DurabilityConfig
        from benchmarks.durability.targets import target_rows

        check_output_folder(out)
        if document is not None:
            check_output_file(document, "--document")
        names = tuple(dict.fromkeys(n.strip() for n in database.split(",") if n.strip()))
        config, reporter = DurabilityConfig(names, operations, kills, seed), TimedReporter()
        with open_bundle(bundle, ClassifySpec) as opened:
            measured = measure_durability(opened, out, config, reporter)
        content = {**measured, "command": command_line()}
        write_results(out, content)
        if document is not None:
            previous = document.read_text(encoding="utf-8") if document.exists() else ""
            write_text(document, with_section(previous, durability_section(content)))
        columns = ("figure", "measured", "at least", "aim", "")
        print_results(content, Table("Fixes, while it is killed", columns, target_rows(content)))
        if faults := _faults(content["databases"]):
            for line in faults:
                reporter.say(line, style="warning")
            raise typer.Exit(EXIT_FAULTS)


def _faults(databases: dict[str, dict[str, Any]]) -> list[str]:
    """Return some lines about what was lost, stale, leaked or refused."""
    return [
        f"{database}, {fault}: {line}"
        for database, counts in databases.items()
        for fault, lines in counts["examples"].items()
        for line in lines
    ]
