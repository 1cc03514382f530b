"""``python -m benchmarks trust``: are answers right, and as sure as they say?"""

from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.command import command_errors
from augrank.errors import BadRequest
from augrank.files import check_output_file, check_output_folder
from benchmarks.cli.output import print_results, write_results, write_text
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line

CATALOGUE = Path(__file__).parents[2] / "examples" / "catalogue"


def trust(
    quick: Annotated[
        bool, typer.Option("--quick", help="Finish in three minutes, with wide intervals.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for results.json and finished histories.")] = (
        Path("build/bench/trust")
    ),
    bundle: Annotated[
        Path | None, typer.Option(help="Also check this bundle, of a history of the rule seed.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The bundle's run directory: names held-out images.")
    ] = None,
    images: Annotated[Path, typer.Option(help="Image folder of the run.")] = CATALOGUE,
    document: Annotated[
        Path | None, typer.Option(help="Markdown file whose section is written, or replaced.")
    ] = None,
) -> None:
    """Check answers in simulated worlds whose truth is known: coverage, false switches, power.

    Each world has 200 histories, each with a head fitted to it. Compares heads with the best of k
    by XGBoost alone, and with bootstrapped heads. About an hour on two cores.

    After an interrupt, run it again: it resumes with the missing histories.

    With a real bundle: python -m benchmarks trust --bundle build/demo/dist/bundle
    --run build/demo/run
    """
    with command_errors(lambda: f"interrupted; resume with: {command_line()}"):
        from augrank.bundle.load import open_bundle
        from augrank.bundle.recommend_spec import RecommendSpec
        from benchmarks.common.sections import with_section
        from benchmarks.trust.document import trust_section
        from benchmarks.trust.real import RealInputs, measure_real
        from benchmarks.trust.report import last_line, result_json, tables
        from benchmarks.trust.run import FULL, QUICK, measure_worlds

        check_output_folder(out)
        if document is not None:
            check_output_file(document, "--document")
        reporter, config, real = TimedReporter(), QUICK if quick else FULL, {}
        if bundle is not None:
            if run is None:
                raise BadRequest("--run is missing", expected="the run directory of the bundle")
            with open_bundle(bundle, RecommendSpec) as opened:
                real = measure_real(RealInputs(opened, run, images), reporter)
        measured = measure_worlds(config, out / "histories", reporter)
        content = result_json(config, measured, real, command_line())
        write_results(out, content)
        if document is not None:
            previous = document.read_text(encoding="utf-8") if document.exists() else ""
            write_text(document, with_section(previous, trust_section(content)))
        print_results(last_line(content), *tables(content))
