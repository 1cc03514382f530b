"""The row ``job``: the first experiments' job, or the share of it that the time allows.

The images are rendered, then decoded by a run of one epoch, then trained on by the timed run, from
the start of its process to its end.
"""

import shutil
from pathlib import Path
from typing import Any

from augrank.resources import usable_cores
from benchmarks.gpu.config import Figures, GpuBenchConfig, RowContext
from benchmarks.training.runs import FitRun
from simulation.render import RenderOptions, render_catalogue

PROBE_IMAGES = 32  # rendered first by one core, to learn the speed
# What the plan assumes before anything is measured; the row's limit ends it if that is too hopeful.
TRAINED_PER_S, DECODED_PER_S_AND_CORE, START_S = 2_000.0, 200.0, 25.0
USED = 0.8  # of the limit, in the plan
IMAGES_OF_AN_ORIGINAL = 3.9  # in an epoch: six candidates of the originals that are trained on


def measure_job(context: RowContext) -> Figures:
    """Measure the job's largest share that the limit allows."""
    config = context.config
    trained = context.earlier.get(f"train {config.job_backbone}")
    trained_per_s = trained["real"]["median"] if trained else TRAINED_PER_S
    share = choose_share(config, context.limit_s, _rendered_per_s(context), trained_per_s)
    catalogue, cache = (context.scratch / f"{name}-{share:g}" for name in ("job", "job-cache"))
    originals = round(share * config.job_originals)
    render_catalogue("sneaker", originals, catalogue, RenderOptions(size=config.rendered_px))
    _, decoding_s = _fit(context, catalogue, cache, epochs=1)
    report, warm_s = _fit(context, catalogue, cache, epochs=config.job_epochs)
    images = report["rows"]["originals"]["train"] * len(report["backbone"]["per_augmentation"])
    accuracy = report["backbone"]["test_accuracy"]
    return {
        "backbone": config.job_backbone,
        "size": config.size,
        "share": share,
        "images": images,
        "epochs": config.job_epochs,
        "warm_s": round(warm_s, 1),
        "decoding_run_s": round(decoding_s, 1),
        "accuracy": accuracy,
        "summary": f"{share:.3g} of the images: {images:,} x {config.job_epochs} epochs in "
        f"{warm_s:.0f} s, test accuracy {accuracy:.3f}",
    }


def choose_share(
    config: GpuBenchConfig, limit_s: float, rendered_per_s: float, trained_per_s: float
) -> float:
    """Return the largest share of the job's images that fits in the time, or the smallest of all.

    Args:
        config: the job and its shares, largest first.
        limit_s: for rendering and both runs.
        rendered_per_s: originals, on all cores.
        trained_per_s: images of an epoch.
    """
    decoded_per_s = DECODED_PER_S_AND_CORE * usable_cores()
    epochs = config.job_epochs + 1
    seconds_of_all = config.job_originals * (
        1 / rendered_per_s + 1 / decoded_per_s + IMAGES_OF_AN_ORIGINAL * epochs / trained_per_s
    )
    for share in config.job_shares:
        if 2 * START_S + share * seconds_of_all <= USED * limit_s:
            return share
    return config.job_shares[-1]


def _rendered_per_s(context: RowContext) -> float:
    """Return originals per second of all cores, from a few that one core renders."""
    folder = context.scratch / "job-probe"
    shutil.rmtree(folder, ignore_errors=True)
    options = RenderOptions(size=context.config.rendered_px, workers=1)
    report = render_catalogue("sneaker", PROBE_IMAGES, folder, options)
    return report.images_per_s_per_core * usable_cores()


def _fit(
    context: RowContext, catalogue: Path, cache: Path, *, epochs: int
) -> tuple[dict[str, Any], float]:
    """Run ``fit``; return its report and seconds."""
    config = context.config
    run = FitRun(
        catalogue / "images",
        context.scratch / "job-run",
        epochs,
        config.size,
        config.job_backbone,
        device=config.device,
        cache=cache,
    )
    return run.run()
