"""Performance targets of an H100; a visit may meet another GPU."""

from collections.abc import Mapping

from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget, single
from benchmarks.training.targets import H100, H100_JOB, H100_SIZE_PX

SERVING = PerformanceTarget(
    "serving",
    "ResNet-18 fp16, six candidates a request, one process, requests per second",
    800,
    2500,
)
TARGETS = (*H100, H100_JOB, SERVING)


def figures_of(results: Results) -> dict[str, Mapping[str, float]]:
    """Return the figures that have a target: none of a quick run, or of a part of the job."""
    if results["quick"]:
        return {}
    rows = {row["name"]: row["figures"] for row in results["rows"] if row["state"] == "measured"}
    figures: dict[str, Mapping[str, float]] = {}
    for target in H100:
        trained = rows.get(f"train {target.name}")
        if trained and trained["size"] == H100_SIZE_PX:
            figures[target.name] = trained["synthetic"]
    if (job := rows.get("job")) and job["share"] == 1:
        figures[H100_JOB.name] = single(job["warm_s"])
    if served := rows.get("serve"):
        figures[SERVING.name] = single(served["graphs"]["fp16"]["requests_per_s"])
    return figures


def target_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table of targets."""
    figures = figures_of(results)
    return [target.row(figures[target.name]) for target in TARGETS if target.name in figures]
