"""``python -m benchmarks pipeline|serving``: one request in process; servers compared."""

from pathlib import Path
from typing import Annotated

import typer

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import BundleSpec
from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, one_of
from augrank.files import check_output_folder
from augrank.models.engines import Device
from augrank.resources import usable_cores
from augrank.serving.capacity import Profile
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line
from benchmarks.common.requests import SAMPLE_IMAGES, image_files, requests_for

MAX_IMAGES, QUICK_MAX_IMAGES = 40, 12
QUICK_PEERS = ("mosec",)

BundleArgument = Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")]
ImagesOption = Annotated[Path, typer.Option(help="Folder of images to send.")]


@friendly_errors
def pipeline(
    bundle: BundleArgument,
    images: ImagesOption = SAMPLE_IMAGES,
    rounds: Annotated[int, typer.Option(min=5, help="Requests timed for each row.")] = 60,
    threads: Annotated[int, typer.Option(help="Intra-op threads; 0 for one per core.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json.")] = None,
) -> None:
    """Time the request pipeline by stage, in process, against the raw forward pass.

    For recommenders and classifiers.
    """
    from benchmarks.cli.tables import pipeline_table
    from benchmarks.serving.pipeline import result_json, time_pipeline

    files = image_files(images)
    if out is not None:
        check_output_folder(out)
    threads = threads or usable_cores()
    with open_bundle(bundle, BundleSpec) as opened:
        results = list(time_pipeline(opened, files, rounds=rounds, threads=threads))
        content = result_json(opened, results, command_line(), rounds=rounds, threads=threads)
    if out is not None:
        write_results(out, content)
    print_results(content, pipeline_table(results))


@friendly_errors
def serving(
    bundle: BundleArgument,
    quick: Annotated[
        bool, typer.Option("--quick", help="Finish in three minutes, with wide intervals.")
    ] = False,
    peers: Annotated[
        str | None,
        typer.Option(help="Comma-separated: litserve, mosec, bentoml, mlserver; or none."),
    ] = None,
    images: ImagesOption = SAMPLE_IMAGES,
    profile: Annotated[
        Profile, typer.Option(help="Capacity profile, as in `augrank serve`.")
    ] = "throughput",
    device: Annotated[Device, typer.Option(help="Device: auto measures all there are.")] = "auto",
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="This machine's price in USD; adds the cost of answers."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json and plots/.")] = Path(
        "build/bench/serving"
    ),
) -> None:
    """Compare servers on this machine: augrank, TorchServe's documented handler, four others.

    Starts all servers on loopback, checks that all give the same answers, and measures them in
    turns. Needs the extras serve and peers.
    """
    try:
        from benchmarks.cli.tables import servers_table, serving_ratios_table
        from benchmarks.serving import measurements
        from benchmarks.serving.measure import Comparison, measure
        from benchmarks.serving.plots import draw_all
        from benchmarks.serving.report import result_json
    except ImportError as error:
        raise BadRequest(
            f"cannot compare servers: {error}", remedy="make install, or the extras serve and peers"
        ) from error
    check_output_folder(out)
    config = measurements.QUICK if quick else measurements.FULL
    chosen_peers = _peers(peers, quick)
    files = image_files(images)[: QUICK_MAX_IMAGES if quick else MAX_IMAGES]
    with open_bundle(bundle, RecommendSpec) as opened:
        requests = requests_for(opened, files)
        comparison = Comparison(opened, requests, config, chosen_peers, profile, device)
        measured = measure(comparison, TimedReporter())
        content = result_json(measured, opened, command_line(), price_per_hour)
    draw_all(measured, out / "plots")
    write_results(out, content)
    print_results(content, servers_table(content), serving_ratios_table(content))


def _peers(names: str | None, quick: bool) -> list[str]:
    """Return the peers of ``--peers``; by default all of them, in a quick run one."""
    from benchmarks.serving.systems import PEERS

    if names is None:
        return list(QUICK_PEERS if quick else PEERS)
    chosen = [name for name in names.split(",") if name not in ("", "none")]
    for name in chosen:
        if name not in PEERS:
            raise BadRequest("unknown peer", expected=one_of(PEERS, name), got=repr(name))
    return chosen
