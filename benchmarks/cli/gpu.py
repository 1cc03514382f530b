"""``python -m benchmarks gpu``: one short visit to a GPU machine, in order of worth."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, one_of
from augrank.files import check_output_folder
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line

if TYPE_CHECKING:
    from benchmarks.gpu.visit import Row, RowResult


@friendly_errors
def gpu(
    out: Annotated[Path, typer.Option(help="Folder for results.json.")] = Path("build/bench/gpu"),
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Start no row that does not fit in this time.")
    ] = 8.0,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle for TorchServe, exported with --fp16.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows, comma-separated, such as tests,serve (default: all).")
    ] = None,
    device: Annotated[
        Literal["cuda", "cpu"], typer.Option(help="cpu tests the command without a GPU.")
    ] = "cuda",
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny amounts of work, for tests of the command.")
    ] = False,
) -> None:
    """Measure what needs a GPU, in order of worth: tests, training, serving, a whole job, heads.

    Each row runs in its own process for its share of the time; one that fails does not stop the
    others. results.json is written after each row. Run it again to measure the rows that are
    missing: measured ones are kept until all are.
    """
    from benchmarks.common.resume import PartialResults
    from benchmarks.gpu.config import FULL, QUICK
    from benchmarks.gpu.report import conditions, describe, result_json, row_table, target_table
    from benchmarks.gpu.rows import visit_rows
    from benchmarks.gpu.visit import Visit

    check_output_folder(out)
    out = out.resolve()  # rows have other working directories
    config = replace(
        QUICK if quick else FULL, device=device, bundle=bundle.resolve() if bundle else None
    )
    all_rows = visit_rows(config)
    only = _chosen(all_rows, rows)
    described, reporter = describe(config), TimedReporter()
    parts = PartialResults(out / "work/measured.json", conditions(config, described), reporter)

    def save(results: "Sequence[RowResult]") -> None:
        write_results(out, result_json(config, described, results, command_line()))

    visit = Visit(config, out / "work", 60 * minutes, parts, reporter, save, only)
    results = visit.run(all_rows)
    if all(result.state == "measured" for result in results):
        parts.delete()
    content = result_json(config, described, results, command_line())
    print_results(content, row_table(content), target_table(content))


def _chosen(rows: "Sequence[Row]", names: str | None) -> list[str] | None:
    """Return the names in ``--rows``, or None for all."""
    if names is None:
        return None
    known, wanted = [row.name for row in rows], names.split(",")
    for name in wanted:
        if name not in known:
            raise BadRequest("unknown row", expected=one_of(known, name), got=repr(name))
    return wanted
