"""What must hold of fixes while the service is killed."""

from dataclasses import replace

from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget, single
from benchmarks.durability.run import TITLES

FEW = "Measure again with the default --operations and --kills."
TARGETS = (
    PerformanceTarget("operations", "random operations", 10_000, 10_000, FEW, digits=0),
    PerformanceTarget("kills", "restarts after kill -9", 20, 20, FEW, digits=0),
    PerformanceTarget("lost", "fixes lost", 0, 0, less_is_better=True, digits=0),
    PerformanceTarget("stale", "stale answers after a fix", 0, 0, less_is_better=True, digits=0),
    PerformanceTarget(
        "leaked", "rows of another advertiser seen", 0, 0, less_is_better=True, digits=0
    ),
    PerformanceTarget(
        "refused", "answers of an unexpected status", 0, 0, less_is_better=True, digits=0
    ),
)


def target_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table of targets, for each database."""
    return [
        replace(target, title=f"{TITLES[name]}: {target.title}").row(single(counts[target.name]))
        for name, counts in results["databases"].items()
        for target in TARGETS
    ]
