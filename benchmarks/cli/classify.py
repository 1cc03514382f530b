"""``python -m benchmarks classify``: a classifier's server and its bulk scoring."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.cli.command import friendly_errors
from augrank.files import check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line
from benchmarks.common.requests import image_files


@friendly_errors
def classify(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a classifier, or .mar archive.")],
    images: Annotated[Path, typer.Option(help="Folder of images to classify.")],
    recommender: Annotated[
        Path | None, typer.Option(help="Bundle of a recommender of the same network and size.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of all systems.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds of a system in a round.")] = 6.0,
    score_runs: Annotated[
        int, typer.Option(min=0, help="Runs of `augrank score` over the whole folder.")
    ] = 3,
    out: Annotated[Path, typer.Option(help="Folder for results.json.")] = Path(
        "build/bench/classify"
    ),
) -> None:
    """Time a classifier's server with 32 images a request, and `augrank score` of a folder."""
    from benchmarks.serving.classify import ClassifyBenchConfig, measure_classify

    check_output_folder(out)
    files = image_files(images)
    config = ClassifyBenchConfig(rounds, seconds, score_runs)
    with ExitStack() as stack:
        opened = stack.enter_context(open_bundle(bundle, ClassifySpec))
        other = None
        if recommender is not None:
            other = stack.enter_context(open_bundle(recommender, RecommendSpec))
        measured = measure_classify(opened, other, files, config, TimedReporter())
    content = {**measured, "command": command_line(), "config": asdict(config)}
    write_results(out, content)
    print_results(content, _table(content))


def _table(content: dict[str, Any]) -> Table:
    rows = [
        (name, f"{each['median']:g} ({each['low']:g} to {each['high']:g})")
        for part in ("images_per_s", "ratios")
        for name, each in content[part].items()
    ]
    score = content["score"]
    if score["seconds"]:
        rows.append((f"score of {score['images']:,} images, s", f"{score['seconds']['median']:g}"))
    return Table("Classifying, images per second and ratios", ("what", "median"), rows)
