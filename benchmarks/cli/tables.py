"""Results as tables for the terminal."""

from collections.abc import Mapping, Sequence

from augrank.reporting import Table
from benchmarks.common.results import Results
from benchmarks.serving.pipeline import PipelineResult
from benchmarks.training.targets import ACCURACY, RATIOS, SHARED_BATCH

SERVER_COLUMNS = (
    "Model",
    "TS throughput",
    "TS latency P50",
    "TS latency P99",
    "Lone latency P50",
    "MaxInvocations",
    "TS error rate",
    "Cost of a million",
)
TRAINING_COLUMNS = (
    "backbone",
    "px",
    "synthetic",
    "real",
    "cold",
    "real / synthetic",
    "waiting",
    "embeddings, int8",
    "in training's precision",
    "eager float32",
    "memory, MB",
)
FIGURE = ("median", "low", "high")


def pipeline_table(results: Sequence[PipelineResult]) -> Table:
    """Stages of a request, one row for each graph and kind of image."""
    rows = [
        [
            f"{result.precision}, {result.image}",
            *(f"{stage.median:.2f}" for stage in result.stages_ms.values()),
            str(result.forward_ms),
            str(result.pipeline_over_forward),
            str(result.second_ms),
            str(result.first_over_second),
        ]
        for result in results
    ]
    columns = (
        "graph, image",
        *results[0].stages_ms,
        "raw forward",
        "pipeline / forward",
        "second",
        "first / second",
    )
    return Table("One request, in process: median ms (95 % interval)", columns, rows)


def servers_table(results: Results) -> Table:
    """One row for each server at its peak."""
    columns = [name for name in SERVER_COLUMNS if name in results["servers"][0]]
    rows = []
    for row in results["servers"]:
        cells = {**row, "TS throughput": f"{row['TS throughput']['median']:.2f}/s"}
        rows.append([str(cells[name]) for name in columns])
    return Table("Servers at their peak", columns, rows)


def serving_ratios_table(results: Results) -> Table:
    """The ratios of a serving benchmark."""
    rows = [
        [name, *(f"{figure[key]:.4g}" for key in FIGURE)]
        for name, figure in results["ratios"].items()
    ]
    return Table("Ratios, in one run", ("ratio", *FIGURE), rows)


def training_table(results: Results) -> Table:
    """Training speed, one row for each backbone and size."""
    rows = [
        [
            row["backbone"],
            str(row["size"]),
            *_medians(row, ("synthetic", "real", "cold")),
            f"{row['real_over_synthetic']['median']:.3f}",
            f"{row['waiting']:.1%}",
            *_medians(row, ("embed", "embed_fp32", "eager")),
            f"{row['peak_mb']:.0f}",
        ]
        for row in results["backbones"]
    ]
    return Table("Training, images per second", TRAINING_COLUMNS, rows)


def training_ratios_table(results: Results) -> Table:
    """The ratios of a training benchmark beside their targets."""
    figures = {**results["ratios"], **results["scaling"], **results}
    rows = []
    for target in (*RATIOS, SHARED_BATCH, ACCURACY):
        if (figure := figures.get(target.name)) is None:  # not measured on this device
            continue
        parts = (f"{figure[key]:.3g}" for key in FIGURE)
        rows.append([target.title, *parts, f"{target.bound:g}", f"{target.aim:g}"])
    return Table("Ratios, in one run", ("ratio", *FIGURE, "at least", "aim"), rows)


def _medians(row: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> list[str]:
    return [f"{row[name]['median']:.0f}" for name in names]
