"""Performance targets of the service."""

from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget

TARGETS = (
    PerformanceTarget(
        "cached_p50_ms",
        "a kept answer over HTTP, one client, p50, ms",
        3,
        1.5,
        "FastAPI, the form and the checks come before the answer is looked up; the rest is mostly "
        "queries and their results.",
        less_is_better=True,
    ),
    PerformanceTarget("cached_p99_ms", "the same, p99, ms", 15, 6, less_is_better=True),
    PerformanceTarget("cached_per_s", "kept answers a second, 32 images a request", 500, 1500),
    PerformanceTarget(
        "new_over_pipeline",
        "new images, service ÷ pipeline in process",
        0.95,
        0.98,
        "Beside the model, a new image is received, looked at, kept as a file, and written with "
        "its answer and labels: about 1 ms of a core, which counts most with small networks.",
    ),
    PerformanceTarget(
        "recommended_over_pipeline",
        "recommendations of new images, service ÷ pipeline in process",
        0.95,
        0.98,
        "Four clients, an image a request. Beside the model, an image is received by FastAPI, "
        "looked at, kept as a file, and written with its question and answer to the disk.",
    ),
    PerformanceTarget(
        "fix_effective_ms", "from a fix to the answer that has it, ms", 100, 20, less_is_better=True
    ),
    PerformanceTarget(
        "promotion_failed",
        "requests that fail while models are promoted and rolled back",
        0,
        0,
        less_is_better=True,
    ),
    PerformanceTarget(
        "promotion_p99_ratio", "p99 during the change ÷ before", 2, 1.3, less_is_better=True
    ),
    PerformanceTarget("rollback_s", "rollback, s", 10, 3, less_is_better=True),
    PerformanceTarget(
        "urls_s",
        "20,000 URLs of a local site, 95 % seen before, s",
        90,
        45,
        "The site is asked about each image, and each result is read and written, on one core.",
        less_is_better=True,
    ),
)


def target_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table of targets."""
    figures = results["figures"]
    return [target.row(figures[target.name]) for target in TARGETS if target.name in figures]
