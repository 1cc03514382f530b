"""The training benchmark from beginning to end, resumed part by part after an interrupt."""

from functools import partial
from pathlib import Path

from augrank.errors import DataError
from augrank.reporting import Reporter
from augrank.resources import usable_cores
from benchmarks.common.resume import PartialResults
from benchmarks.training.inputs import measure_loader
from benchmarks.training.measure import measure_backbone, measure_compile
from benchmarks.training.measurements import (
    BackboneMeasurement,
    CompileMeasurement,
    LoaderMeasurement,
    TrainingBench,
    TrainingBenchConfig,
    choose_device,
    load_images,
)
from benchmarks.training.neighbours import NeighbourMeasurement, measure_neighbours
from benchmarks.training.report import TrainingMeasurements, conditions
from benchmarks.training.runs import (
    JobMeasurement,
    RunMeasurement,
    ScalingMeasurement,
    measure_job,
    measure_runs,
    measure_scaling,
)
from simulation.render import render_catalogue
from training.data.dataset import Dataset


def run_benchmark(
    config: TrainingBenchConfig, scratch: Path, reporter: Reporter
) -> tuple[TrainingMeasurements, PartialResults]:
    """Measure every part that an earlier, interrupted run has not measured.

    Args:
        config: the amount of work.
        scratch: folder for rendered images, image caches, runs and the partial results.
        reporter: prints what is being measured.

    Returns:
        The measurements, and the partial results, to be deleted once the measurements are saved.
    """
    threads = usable_cores()
    device = choose_device(threads)
    parts = PartialResults(scratch / "measured.json", conditions(config, device, threads), reporter)
    reporter.say(f"rendering {config.images} images")
    render_catalogue("sneaker", config.images, scratch / "images")
    images = scratch / "images" / "images"
    bench = TrainingBench(config, device, images, scratch, reporter)
    data = {size: load_images(images, scratch, size) for size in config.sizes}
    backbones = [
        parts.get_or_measure(
            f"{backbone}, {size} px",
            BackboneMeasurement,
            partial(measure_backbone, data[size], backbone, bench),
        )
        for backbone in config.backbones
        for size in config.sizes
    ]
    job = None
    if not config.quick and device.is_cuda:
        job = parts.get_or_measure("job", JobMeasurement, partial(measure_job, bench))
    inputs = [
        parts.get_or_measure(
            f"loader, {size} px", LoaderMeasurement, partial(measure_loader, data[size], bench)
        )
        for size in config.sizes
    ]
    runs = parts.get_or_measure("whole runs", RunMeasurement, partial(measure_runs, bench))
    scaling = parts.get_or_measure("processes", ScalingMeasurement, partial(measure_scaling, bench))
    neighbours = None
    if not device.is_cuda:
        neighbours = parts.get_or_measure(
            "neighbours", NeighbourMeasurement, partial(_neighbours, bench)
        )
    compiled = None if config.quick else _compile(parts, data[config.sizes[0]], bench)
    measured = TrainingMeasurements(
        device, threads, config, backbones, inputs, runs, scaling, neighbours, compiled, job
    )
    return measured, parts


def _neighbours(bench: TrainingBench) -> NeighbourMeasurement:
    config, rounds = bench.config, 1 if bench.config.quick else bench.config.rounds
    return measure_neighbours(
        config.backbones[0], config.sizes[0], rounds, bench.scratch, bench.reporter
    )


def _compile(
    parts: PartialResults, data: Dataset, bench: TrainingBench
) -> CompileMeasurement | None:
    measure = partial(measure_compile, data, bench.config.backbones[0], bench)
    try:
        return parts.get_or_measure("torch.compile", CompileMeasurement, measure)
    except DataError as error:  # such as: this machine has no C compiler
        bench.reporter.say(f"torch.compile is not measured: {error}")
        return None
